/**
 * How far a recording has been read: one live line on a terminal, else a plain line now and then. Always on
 * stderr, and only once it takes long enough to wonder.
 */
import { amountText } from './progress-text.js';
import { terminalLines } from './terminal-lines.js';

/** Milliseconds before the first line, and between two of them on a terminal and elsewhere. */
const QUIET_MS = 1000;
const LIVE_MS = 100;
const PLAIN_MS = 1000;

export interface InspectProgress {
  /** Bytes read of the recording, and its size where that is known. */
  update(position: number, size: number | undefined): void;
  /** No more is to come. */
  end(): void;
}

/** `3.2 GiB of 40 GiB (8 %), 1.1 GiB/s, 34 s left`. */
export function progressLine(position: number, size: number | undefined, elapsedMs: number): string {
  return `read ${amountText(position, size, (position / elapsedMs) * 1000)}`;
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
