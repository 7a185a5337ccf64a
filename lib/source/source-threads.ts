/**
 * The threads of an outgoing migration, started ahead and parked until there is something for them to do: to start them
 * takes longer than all else until the guest runs at the destination. Owner only.
 */
import { type ParkedThread, parkThread, type Thread, type ThreadWork } from '../threads/thread.js';
import type { MigrationThreadResult } from './migration-thread.js';
import { rehearsedCalls } from './rehearsal.js';
import type { ReturnPathEvent, ReturnPathThreadData } from './return-path-thread.js';
import type { MigrationThreadData, SourceEvent } from './source-context.js';

/** The return path thread; of a recovery there is another one, which nobody waits for. */
export const returnPathIdentity = {
  name: 'mig/src/rp',
  urgent: true,
  entry: new URL('./return-path-thread.bundle.cjs', import.meta.url),
} as const;

const migrationIdentity = {
  name: 'mig/src/main',
  entry: new URL('./migration-thread.bundle.cjs', import.meta.url),
} as const;

export class SourceThreads {
  readonly #returnPath: ParkedThread<ReturnPathThreadData, void, ReturnPathEvent>;
  readonly #migration: ParkedThread<MigrationThreadData, MigrationThreadResult, SourceEvent>;

  private constructor() {
    this.#returnPath = parkThread(returnPathIdentity);
    this.#migration = parkThread(migrationIdentity, rehearsedCalls());
  }

  /** Both at once. */
  static start(): SourceThreads {
    return new SourceThreads();
  }

  /** They are parked. Never rejects: what is wrong with them is told by the migration that begins them. */
  async ready(): Promise<void> {
    await Promise.all([this.#returnPath.parked, this.#migration.parked]);
  }

  /** S2. */
  beginReturnPath(work: ThreadWork<ReturnPathThreadData, ReturnPathEvent>): Thread<void> {
    return this.#returnPath.begin(work);
  }

  /** S3. */
  beginMigration(work: ThreadWork<MigrationThreadData, SourceEvent>): Thread<MigrationThreadResult> {
    return this.#migration.begin(work);
  }

  /** Ends those that have not begun; resolved when they are gone. More than once is harmless. */
  async close(): Promise<void> {
    await Promise.all([this.#returnPath.close(), this.#migration.close()]);
  }
}
