/**
 * The rate limit of the stream: a budget of bytes for each window of 100 ms, as QEMU does it.
 * Pure: the caller tells the time. Migration thread only.
 */

/** Milliseconds of a window. */
export const WINDOW_MS = 100;

export class RateLimit {
  #budget: number;
  #sent = 0;
  #windowStartMs: number;

  /** `bytesPerSecond` 0 is no limit. */
  constructor(bytesPerSecond: number, nowMs: number) {
    this.#budget = bytesPerSecond === 0 ? Number.POSITIVE_INFINITY : (bytesPerSecond * WINDOW_MS) / 1000;
    this.#windowStartMs = nowMs;
  }

  /** Sets a new limit, from a new window on. */
  reset(bytesPerSecond: number, nowMs: number): void {
    this.#budget = bytesPerSecond === 0 ? Number.POSITIVE_INFINITY : (bytesPerSecond * WINDOW_MS) / 1000;
    this.#sent = 0;
    this.#windowStartMs = nowMs;
  }

  count(bytes: number): void {
    this.#sent += bytes;
  }

  /** Milliseconds to rest before more may be sent; 0 when there is budget left. */
  restMs(nowMs: number): number {
    const elapsed = nowMs - this.#windowStartMs;
    // What went over the budget of one window is paid for by the windows after it.
    const windows = Math.floor(elapsed / WINDOW_MS);
    if (windows > 0) {
      this.#sent = Math.max(0, this.#sent - windows * this.#budget);
      this.#windowStartMs += windows * WINDOW_MS;
    }
    if (this.#sent < this.#budget) return 0;
    return WINDOW_MS - (nowMs - this.#windowStartMs);
  }
}
