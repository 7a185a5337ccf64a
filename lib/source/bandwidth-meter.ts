/** Throughput of the stream, over windows of 100 ms. Pure: the caller tells the time. Migration thread only. */

const WINDOW_MS = 100;

export class BandwidthMeter {
  #startMs: number;
  #startBytes = 0;
  #startPages = 0;
  #windowBytes = 0;
  #bytesPerSecond = 0;
  #pagesPerSecond = 0;

  constructor(nowMs: number) {
    this.#startMs = nowMs;
  }

  /** Of the last whole window; 0 before the first is over. */
  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  get pagesPerSecond(): number {
    return this.#pagesPerSecond;
  }

  /** Bytes of the last whole window. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** `bytes` and `pages`: all that was sent so far. True if a window ended with it. */
  measure(nowMs: number, bytes: number, pages: number): boolean {
    const elapsedMs = nowMs - this.#startMs;
    if (elapsedMs < WINDOW_MS) return false;
    this.#windowBytes = bytes - this.#startBytes;
    this.#bytesPerSecond = (this.#windowBytes / elapsedMs) * 1000;
    this.#pagesPerSecond = ((pages - this.#startPages) / elapsedMs) * 1000;
    this.#startMs = nowMs;
    this.#startBytes = bytes;
    this.#startPages = pages;
    return true;
  }
}
