/**
 * The windows in which a migration sees how the guest writes: a short one and a longer one by turns, while a pass
 * goes on, and each pass itself. Pure: the caller tells the time and looks at the log. Migration thread only.
 */
import type { DirtyWindow } from './dirty-curve.js';

/** Milliseconds of the windows. */
const SHORT_MS = 250;
const LONG_MS = 1000;
/** Shorter ones, of passes that are soon over, tell too little. */
const LEAST_MS = 20;
/** Milliseconds after which a window tells nothing of how the guest writes now. */
const STALE_MS = 5000;
/** A look at the log takes this share of the time at most: of large memory it takes a while. */
const COST = 1 / 50;

const none: DirtyWindow = { ms: 0, pages: 0 };

export class WriteSampler {
  #startMs: number;
  #nextIsLong = false;
  #notBeforeMs = 0;
  #windows: readonly [short: DirtyWindow, long: DirtyWindow] = [none, none];
  #readMs: readonly [short: number, long: number] = [0, 0];

  constructor(nowMs: number) {
    this.#startMs = nowMs;
  }

  /** Whether the window that is open is over. */
  isDue(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs && nowMs - this.#startMs >= (this.#nextIsLong ? LONG_MS : SHORT_MS);
  }

  /** The log, read from `startMs` to `endMs`, had so many pages since it was read last. The next window is open. */
  read(startMs: number, endMs: number, pages: number): void {
    const window = { ms: startMs - this.#startMs, pages };
    this.#startMs = endMs;
    this.#notBeforeMs = endMs + (endMs - startMs) / COST;
    if (window.ms < LEAST_MS) return;
    const isLong = window.ms >= (SHORT_MS + LONG_MS) / 2;
    const [short, long] = this.#windows;
    const [shortMs, longMs] = this.#readMs;
    const kept = (other: DirtyWindow, otherMs: number) => (endMs - otherMs > STALE_MS ? none : other);
    this.#windows = isLong ? [kept(short, shortMs), window] : [window, kept(long, longMs)];
    this.#readMs = isLong ? [shortMs, endMs] : [endMs, longMs];
    this.#nextIsLong = !isLong;
  }

  /** The last of either; one of 0 ms where there is none. */
  get windows(): readonly [short: DirtyWindow, long: DirtyWindow] {
    return this.#windows;
  }
}
