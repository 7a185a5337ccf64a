/** How far something is, how fast it goes, and how long it will take, in words. */
import { formatBytes, formatDuration } from './size.js';

/** `3.2 GiB of 40 GiB (8 %), 1.1 GiB/s, 34 s left`; less where the size is not known, or nothing moves. */
export function amountText(done: number, total: number | undefined, bytesPerSecond: number): string {
  const rate = `${formatBytes(bytesPerSecond)}/s`;
  if (total === undefined || total < done) return `${formatBytes(done)}, ${rate}`;
  const percent = total === 0 ? '' : ` (${Math.floor((done / total) * 100)} %)`;
  return `${formatBytes(done)} of ${formatBytes(total)}${percent}, ${rate}${leftText(total - done, bytesPerSecond)}`;
}

/** `, 34 s left`; nothing where nothing is left, or nothing moves. */
export function leftText(bytes: number, bytesPerSecond: number): string {
  return bytes > 0 && bytesPerSecond > 0 ? `, ${formatDuration((bytes / bytesPerSecond) * 1000)} left` : '';
}

/** `waiting for a source at unix:/run/m.sock for 12 s`. */
export function waitText(what: string, ms: number): string {
  return `${what} for ${formatDuration(Math.floor(ms / 1000) * 1000)}`;
}

/** Seconds over which a rate is taken: long enough to be steady, and short enough to tell of a change. */
const WINDOW_MS = 3000;

/** A rate from looks at a number that grows. */
export class RateMeter {
  readonly #now: () => number;
  #looks: { readonly at: number; readonly value: number }[] = [];

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** How much it grows a second, over the last looks; 0 at the first. */
  look(value: number): number {
    const at = this.#now();
    const looks = [...this.#looks, { at, value }];
    while (looks.length > 2 && at - looks[1].at >= WINDOW_MS) looks.shift();
    this.#looks = looks;
    const ms = at - looks[0].at;
    return ms > 0 ? Math.max(0, ((value - looks[0].value) / ms) * 1000) : 0;
  }
}
