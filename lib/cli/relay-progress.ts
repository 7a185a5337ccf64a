/**
 * A relay while it runs: what happens to its connections, a line each, and how much passes: one live line on a
 * terminal, else a plain one each second in which something passed. Always on stderr.
 */
import { createLogUpdate } from 'log-update';
import type { RelayStats } from '../relay/relay.js';
import { formatBytes } from './size.js';

/** Milliseconds from one look at the numbers to the next. */
const LIVE_MS = 250;
const PLAIN_MS = 1000;

/** `12 MiB to the destination, 4.0 MiB/s; 908 B back, 0 B/s; 2 of 3 connections open`. */
export function relayLine(stats: RelayStats, before: RelayStats | undefined, ms: number): string {
  const rate = (direction: 's2d' | 'd2s') =>
    formatBytes(ms > 0 ? ((stats[direction] - (before?.[direction] ?? 0)) / ms) * 1000 : 0);
  const open = stats.connections.filter(({ state }) => ['dialling', 'open', 'stalled'].includes(state)).length;
  return (
    `${formatBytes(stats.s2d)} to the destination, ${rate('s2d')}/s; ` +
    `${formatBytes(stats.d2s)} back, ${rate('d2s')}/s; ` +
    `${open} of ${stats.connections.length} connections open`
  );
}

export interface RelayProgress {
  /** Something happened. */
  event(text: string): void;
  /** From now on looks at the numbers now and then, until {@link end}. */
  follow(stats: () => RelayStats): void;
  end(): void;
}

export function createRelayProgress(
  stream: NodeJS.WriteStream = process.stderr,
  now: () => number = () => performance.now(),
): RelayProgress {
  // A terminal of no known width can't be drawn on.
  const live = stream.isTTY && stream.columns > 0 ? createLogUpdate(stream) : undefined;
  let timer: NodeJS.Timeout | undefined;
  let last: { readonly at: number; readonly stats: RelayStats } | undefined;
  const look = (stats: RelayStats): void => {
    const at = now();
    const line = relayLine(stats, last?.stats, at - (last?.at ?? at));
    const changed = stats.s2d !== (last?.stats.s2d ?? 0) || stats.d2s !== (last?.stats.d2s ?? 0);
    last = { at, stats };
    if (live !== undefined) live(line);
    else if (changed) stream.write(`${line}\n`);
  };
  return {
    event: (text) => {
      live?.clear();
      stream.write(`${text}\n`);
    },
    follow: (stats) => {
      last = { at: now(), stats: stats() };
      timer = setInterval(() => look(stats()), live === undefined ? PLAIN_MS : LIVE_MS);
      // What is waited for are connections.
      timer.unref();
    },
    end: () => {
      clearInterval(timer);
      live?.clear();
      live?.done();
    },
  };
}
