/**
 * How fast the guest writes to memory: pages that the dirty syncs found, over periods of at least a
 * second, which end with a sync. Pure: the caller tells the time. Migration thread only.
 */
import { pageOffset } from '../memory/page.js';

/** Milliseconds that a period lasts at least, as in QEMU. */
const PERIOD_MS = 1000;

/** A period that has ended. */
export interface DirtyPeriod {
  /** Pages that became dirty, a second. */
  readonly pagesPerSecond: number;
  readonly dirtiedBytes: number;
  /** Bytes that were sent meanwhile. */
  readonly transferredBytes: number;
}

export class DirtyRate {
  #startMs: number;
  #startBytes: number;
  #pages = 0;

  /** `bytes`: all that was sent so far. */
  constructor(nowMs: number, bytes: number) {
    this.#startMs = nowMs;
    this.#startBytes = bytes;
  }

  /** A sync found `pages` newly dirty; the period, if it ends with that. `bytes`: all that was sent so far. */
  count(nowMs: number, pages: number, bytes: number): DirtyPeriod | undefined {
    this.#pages += pages;
    const elapsedMs = nowMs - this.#startMs;
    if (elapsedMs < PERIOD_MS) return undefined;
    const period: DirtyPeriod = {
      pagesPerSecond: (this.#pages * 1000) / elapsedMs,
      dirtiedBytes: pageOffset(this.#pages),
      transferredBytes: bytes - this.#startBytes,
    };
    this.#startMs = nowMs;
    this.#startBytes = bytes;
    this.#pages = 0;
    return period;
  }
}
