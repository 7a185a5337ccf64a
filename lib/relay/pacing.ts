/**
 * When bytes leave a link and when they arrive: its bandwidth and its latency. Pure: the time is an argument,
 * in milliseconds from any start.
 */

/**
 * How far a link may lag behind its rate and still catch up, in milliseconds. In any second it carries at most
 * 4 % too much, and a timer that comes this late costs nothing.
 */
export const BURST_MS = 40;
/** How much of a link's time one step takes, in milliseconds: short, so that connections share it evenly. */
const STEP_MS = 5;
/** What is due within this, in milliseconds, is due now: timers are no finer. */
export const SLACK_MS = 1;

/** A token bucket, kept as the time at which the link is free again. */
export class Bandwidth {
  /** Bytes to take at once, at most. */
  readonly step: number;
  readonly #bytesPerMs: number;
  #free = Number.NEGATIVE_INFINITY;

  /** @param bytesPerSecond 0 for no limit */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond === 0 ? Number.POSITIVE_INFINITY : bytesPerSecond / 1000;
    this.step = Math.max(1, Math.floor(this.#bytesPerMs * STEP_MS));
  }

  /** Takes the link for `bytes`, behind all that took it before; the time at which the last of them has gone out. */
  take(bytes: number, now: number): number {
    this.#free = Math.max(this.#free, now - BURST_MS) + bytes / this.#bytesPerMs;
    return Math.max(now, this.#free);
  }
}

/** How long bytes are on their way. What left earlier never arrives later. */
export class Latency {
  readonly #delayMs: number;
  readonly #jitterMs: number;
  readonly #random: () => number;
  #last = Number.NEGATIVE_INFINITY;

  /** @param jitterMs up to this much is added to the delay of each piece, as `random` (from 0, below 1) has it */
  constructor(delayMs: number, jitterMs: number, random: () => number) {
    this.#delayMs = delayMs;
    this.#jitterMs = jitterMs;
    this.#random = random;
  }

  /** When what departs then arrives. */
  arrival(departure: number): number {
    const jitter = this.#jitterMs === 0 ? 0 : this.#random() * this.#jitterMs;
    this.#last = Math.max(this.#last, departure + this.#delayMs + jitter);
    return this.#last;
  }
}

/** Numbers from 0, below 1, the same ones for the same seed (splitmix32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}
