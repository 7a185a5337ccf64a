/**
 * Whose turn it is to be served in this thread: one client at a time, for a moment. However many there are, and as fast
 * as they send, the thread's event loop goes round, and most of its time is left to what else it has to do.
 */

/** Milliseconds that a turn may last. */
const TURN_MS = 1;
/** How much of the time may be spent on turns, in the long run. */
const SHARE = 0.25;

export class Turns {
  readonly #waiting: (() => void)[] = [];
  #isScheduled = false;
  #beganAt = 0;
  /** Milliseconds that may be spent at once, as no more were before; below 0 is to be waited for. */
  #allowance = TURN_MS;
  #allowanceAt = 0;

  /** Resolved when it is one's turn, in the order in which it was asked for. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#schedule();
    });
  }

  /** Whether the turn has lasted long enough: {@link next} before going on. */
  get isOver(): boolean {
    return performance.now() - this.#beganAt > TURN_MS;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    const now = performance.now();
    this.#allowance = Math.min(TURN_MS, this.#allowance + (now - this.#allowanceAt) * SHARE);
    this.#allowanceAt = now;
    if (this.#allowance > 0) setImmediate(() => this.#give());
    else setTimeout(() => this.#give(), Math.ceil(-this.#allowance / SHARE));
  }

  #give(): void {
    this.#beganAt = performance.now();
    this.#waiting.shift()?.();
    // Behind whatever is done without giving way.
    setImmediate(() => {
      this.#allowance -= performance.now() - this.#beganAt;
      this.#isScheduled = false;
      this.#schedule();
    });
  }
}
