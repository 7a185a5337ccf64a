/**
 * Whose turn it is to be served in this thread: one client at a time, for a moment. However many there are, and as fast
 * as they send, the thread's event loop goes round, and most of its time is left to what else it has to do.
 */

/** Milliseconds that a turn may last. */
const TURN_MS = 1;
/** The most milliseconds that a turn is taken to have lasted: what is beyond was spent by others on this processor. */
const COUNTED_MS_MAX = 4;
/** How much of the time may be spent on turns, in the long run. */
const SHARE = 0.05;

/** What has been spent on one client, in milliseconds; or on others, while it asked for nothing. */
export interface TurnAccount {
  spentMs: number;
}

interface Waiting {
  readonly account: TurnAccount;
  readonly begin: () => void;
}

export class Turns {
  readonly #waiting: Waiting[] = [];
  #isScheduled = false;
  #beganAt = 0;
  /** Milliseconds that may be spent at once, as no more were before; below 0 is to be waited for. */
  #allowance = TURN_MS;
  #allowanceAt = 0;
  /** What had been spent on the one whose turn was last. */
  #spentMs = 0;

  /** Resolved when it is that client's turn: first comes the one on whom least was spent, then who asked first. */
  next(account: TurnAccount): Promise<void> {
    return new Promise((begin) => {
      account.spentMs = Math.max(account.spentMs, this.#spentMs);
      this.#waiting.push({ account, begin });
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
    const { account, begin } = this.#takeNext();
    this.#spentMs = account.spentMs;
    begin();
    // Behind whatever is done without giving way.
    setImmediate(() => {
      const lastedMs = Math.min(COUNTED_MS_MAX, performance.now() - this.#beganAt);
      account.spentMs += lastedMs;
      this.#allowance -= lastedMs;
      this.#isScheduled = false;
      this.#schedule();
    });
  }

  #takeNext(): Waiting {
    const least = Math.min(...this.#waiting.map(({ account }) => account.spentMs));
    const index = this.#waiting.findIndex(({ account }) => account.spentMs === least);
    return this.#waiting.splice(index, 1)[0];
  }
}
