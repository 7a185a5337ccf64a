/**
 * How far a recording has been read: one live line on a terminal, else a plain line now and then. Always on
 * stderr, and only once it takes long enough to wonder.
 */
import { formatBytes } from './size.js';
import { terminalLines } from './terminal-lines.js';

/** Milliseconds before the first line, and between two of them on a terminal and elsewhere. */
const QUIET_MS = 1000;
const LIVE_MS = 100;
const PLAIN_MS = 5000;

export interface InspectProgress {
  /** Bytes read of the recording, and its size where that is known. */
  update(position: number, size: number | undefined): void;
  /** No more is to come. */
  end(): void;
}

/** `2 min 05 s`. */
function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const pad = (value: number) => String(value).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${pad(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
}

/** `3.2 GiB of 40 GiB (8 %), 1.1 GiB/s, 34 s left`. */
export function progressLine(position: number, size: number | undefined, elapsedMs: number): string {
  const rate = (position / elapsedMs) * 1000;
  if (size === undefined || size < position) return `read ${formatBytes(position)}, ${formatBytes(rate)}/s`;
  const percent = Math.floor((position / size) * 100);
  const left = rate > 0 ? `, ${duration((size - position) / rate)} left` : '';
  return `read ${formatBytes(position)} of ${formatBytes(size)} (${percent} %), ${formatBytes(rate)}/s${left}`;
}

export async function createInspectProgress(
  stream: NodeJS.WriteStream = process.stderr,
  now: () => number = () => performance.now(),
): Promise<InspectProgress> {
  const started = now();
  const live = await terminalLines(stream);
  let drawnAt = Number.NEGATIVE_INFINITY;
  return {
    update: (position, size) => {
      const at = now();
      if (at - started < QUIET_MS || at - drawnAt < (live === undefined ? PLAIN_MS : LIVE_MS)) return;
      drawnAt = at;
      const line = progressLine(position, size, at - started);
      if (live === undefined) stream.write(`${line}\n`);
      else live(line);
    },
    end: () => {
      live?.clear();
      live?.done();
    },
  };
}
