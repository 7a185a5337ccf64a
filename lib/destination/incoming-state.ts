/**
 * The statuses of an incoming migration, under QEMU's names, and which may follow which: a table. Only the
 * owner's thread changes it.
 */
export const incomingStatuses = [
  'none',
  'setup',
  'active',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover',
  'completed',
  'failed',
] as const;

export type IncomingStatus = (typeof incomingStatuses)[number];

/**
 * Status → the statuses that may follow it. `setup`: it listens; `active`: a source has connected. A connection that
 * is lost once the guest was handed over pauses the migration, also before the guest was started.
 */
export const incomingTransitions: Readonly<Record<IncomingStatus, readonly IncomingStatus[]>> = {
  none: ['setup'],
  setup: ['active', 'failed'],
  active: ['postcopy-active', 'postcopy-paused', 'completed', 'failed'],
  'postcopy-active': ['postcopy-paused', 'completed', 'failed'],
  'postcopy-paused': ['postcopy-recover', 'completed', 'failed'],
  'postcopy-recover': ['postcopy-active', 'postcopy-paused', 'completed', 'failed'],
  completed: [],
  failed: [],
};

export class IncomingState {
  #status: IncomingStatus = 'none';

  get status(): IncomingStatus {
    return this.#status;
  }

  /** Throws RangeError for a step the table does not have: a mistake in the caller. */
  move(to: IncomingStatus): void {
    if (!incomingTransitions[this.#status].includes(to))
      throw new RangeError(`no transition from ${this.#status} to ${to}`);
    this.#status = to;
  }
}
