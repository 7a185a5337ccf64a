/** Bytes a second of the stream, over windows of 100 ms. Pure: the caller tells the time. Migration thread only. */

const WINDOW_MS = 100;

export class BandwidthMeter {
  #startMs: number;
  #startBytes = 0;
  #bytesPerSecond = 0;

  constructor(nowMs: number) {
    this.#startMs = nowMs;
  }

  /** Of the last whole window; 0 before the first is over. */
  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  /** `bytes`: all that was sent so far. */
  measure(nowMs: number, bytes: number): void {
    const elapsedMs = nowMs - this.#startMs;
    if (elapsedMs < WINDOW_MS) return;
    this.#bytesPerSecond = ((bytes - this.#startBytes) / elapsedMs) * 1000;
    this.#startMs = nowMs;
    this.#startBytes = bytes;
  }
}
