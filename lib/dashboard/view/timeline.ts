/** Events as spans of a status, and as text. Pure. */
import type { SideEvent } from '../snapshot.js';

export interface Span {
  readonly status: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Statuses that nothing follows: shown for the moment. */
const final: readonly string[] = ['completed', 'failed', 'cancelled'];

export function spansOf(events: readonly SideEvent[], nowMs: number): readonly Span[] {
  const changes = events.filter(({ kind }) => kind === 'status');
  return changes.map(({ atMs, value }, i) => {
    const status = String(value);
    const next = changes[i + 1]?.atMs ?? (final.includes(status) ? atMs : Math.max(nowMs, atMs));
    return { status, fromMs: atMs, untilMs: next };
  });
}

/** Of QEMU's source, and of ours. */
const pings: Readonly<Record<number, string>> = {
  1: 'set-up',
  2: 'guest stopped',
  3: 'package',
  4: 'behind the package',
  66: 'switchover',
};

function pingName(value: number): string {
  return (
    pings[value] ?? (value > 0x100 && value < 0x10000 ? `discards, round ${value - 0x100}` : `0x${value.toString(16)}`)
  );
}

export function eventText({ kind, value }: SideEvent): string {
  switch (kind) {
    case 'status':
      return String(value);
    case 'ping':
      return `ping: ${pingName(Number(value))}`;
    case 'pong':
      return `pong: ${pingName(Number(value))}`;
    case 'pass':
      return `pass ${value} is done`;
    case 'throttle':
      return `guest held back ${value} %`;
    case 'warning':
      return `warning: ${value}`;
    case 'error':
      return `error: ${value}`;
  }
}
