/** Pauses and recoveries of a migration, from the statuses that it goes through. */

const paused = new Set(['postcopy-paused', 'postcopy-recover-setup', 'postcopy-recover']);

/** How it has come to be. */
export interface Pauses {
  readonly pauses: number;
  /** How many of them have ended in a recovery. */
  readonly recoveries: number;
  /** In all of them, with the present one. */
  readonly pausedMs: number;
}

export class PauseCount {
  readonly #now: () => number;
  #since: number | undefined;
  #pausedMs = 0;
  #pauses = 0;
  #recoveries = 0;

  /** `now` in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get figures(): Pauses {
    return {
      pauses: this.#pauses,
      recoveries: this.#recoveries,
      pausedMs: this.#pausedMs + (this.#since === undefined ? 0 : this.#now() - this.#since),
    };
  }

  /** The migration is in this status, from now on or still. A recovery that comes to nothing ends no pause. */
  at(status: string): void {
    if (paused.has(status)) {
      if (this.#since !== undefined) return;
      this.#since = this.#now();
      this.#pauses += 1;
    } else if (this.#since !== undefined) {
      this.#pausedMs += this.#now() - this.#since;
      this.#since = undefined;
      if (status === 'postcopy-active' || status === 'completed') this.#recoveries += 1;
    }
  }
}
