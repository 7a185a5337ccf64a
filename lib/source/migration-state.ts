/**
 * The source's states, under QEMU's names, and which may follow which: a table, and one cell in
 * shared memory that every thread reads and that changes by compare-and-swap alone. Two threads that
 * want different things (one completes, one cancels) can't both have their way.
 */
import { Signals } from '../threads/signals.js';

/** In the order of the cell's numbers; `none` is a new cell. */
export const migrationStatuses = [
  'none',
  'setup',
  'active',
  'device',
  'postcopy-device',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover-setup',
  'postcopy-recover',
  'completed',
  'cancelling',
  'cancelled',
  'failed',
] as const;

export type MigrationStatus = (typeof migrationStatuses)[number];

/**
 * Status → the statuses that may follow it. Once the guest is being handed over (device at the end of a
 * precopy, postcopy-active) there is no cancelling: it may run elsewhere. In postcopy-device it is not yet: the
 * destination loads its device state, and has not been told to run it.
 */
export const migrationTransitions: Readonly<Record<MigrationStatus, readonly MigrationStatus[]>> = {
  none: ['setup'],
  setup: ['active', 'cancelling', 'failed'],
  active: ['device', 'postcopy-device', 'postcopy-active', 'cancelling', 'failed'],
  device: ['completed', 'failed'],
  'postcopy-device': ['postcopy-active', 'cancelling', 'failed'],
  'postcopy-active': ['completed', 'postcopy-paused', 'failed'],
  'postcopy-paused': ['postcopy-recover-setup', 'completed', 'failed'],
  'postcopy-recover-setup': ['postcopy-recover', 'postcopy-paused', 'completed', 'failed'],
  'postcopy-recover': ['postcopy-active', 'postcopy-paused', 'completed', 'failed'],
  completed: [],
  cancelling: ['cancelled'],
  cancelled: [],
  failed: [],
};

/** A migration in this status is under way, and nobody has asked for its end. */
export function isSetupOrActive(status: MigrationStatus): boolean {
  return status !== 'none' && status !== 'cancelling' && !isFinal(status);
}

/** A migration in this status has lost its connection in postcopy, and has not gone on yet. */
export function isPaused(status: MigrationStatus): boolean {
  return status === 'postcopy-paused' || status === 'postcopy-recover-setup' || status === 'postcopy-recover';
}

/** A migration in this status can be cancelled. */
export function isCancellable(status: MigrationStatus): boolean {
  return migrationTransitions[status].includes('cancelling');
}

/** A migration in this status has ended. */
export function isFinal(status: MigrationStatus): boolean {
  return migrationTransitions[status].length === 0;
}

export class MigrationStateCell {
  readonly #cell: Signals<'STATUS'>;

  constructor(buffer?: SharedArrayBuffer) {
    this.#cell = new Signals(['STATUS'], buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.#cell.buffer;
  }

  get status(): MigrationStatus {
    return migrationStatuses[this.#cell.get('STATUS')];
  }

  /**
   * Moves `from` → `to`; false, and nothing changed, if the status is not `from` any more.
   * Throws RangeError for a step the table does not have: a mistake in the caller.
   */
  move(from: MigrationStatus, to: MigrationStatus): boolean {
    if (!migrationTransitions[from].includes(to)) throw new RangeError(`no transition from ${from} to ${to}`);
    return this.#cell.exchange('STATUS', migrationStatuses.indexOf(from), migrationStatuses.indexOf(to));
  }
}
