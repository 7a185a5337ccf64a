/** Pauses and recoveries of a migration, from the statuses that it goes through. */

const paused = new Set(['postcopy-paused', 'postcopy-recover-setup', 'postcopy-recover']);

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

  get pauses(): number {
    return this.#pauses;
  }

  get recoveries(): number {
    return this.#recoveries;
  }

  /** In all pauses, with the present one. */
  get pausedMs(): number {
    return this.#pausedMs + (this.#since === undefined ? 0 : this.#now() - this.#since);
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
