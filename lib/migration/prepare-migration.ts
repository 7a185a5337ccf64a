/** Being ready to send a guest: what of a migration takes long and needs neither the guest nor a destination. */
import { MigrationError } from '../errors.js';
import { SourceThreads } from '../source/source-threads.js';

export class PreparedMigration {
  /** Undefined while a migration has them, or has had. */
  #threads: SourceThreads | undefined;
  #isClosed = false;

  constructor(threads: SourceThreads) {
    this.#threads = threads;
  }

  /** For `migrate()`: its threads, which are the caller's from then on. Throws BAD_ARGUMENT the second time. */
  take(): SourceThreads {
    const threads = this.#threads;
    if (threads === undefined) {
      throw new MigrationError('BAD_ARGUMENT', 'the prepared migration was used already, or closed', {
        hint: 'call prepareMigration() for each migration',
      });
    }
    this.#threads = undefined;
    return threads;
  }

  /** For `migrate()`, which has come to nothing: another one may take them. */
  async giveBack(threads: SourceThreads): Promise<void> {
    if (this.#isClosed) await threads.close();
    else this.#threads = threads;
  }

  /** It is not needed any more: ends its threads, if no migration has them. More than once is harmless. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const threads = this.#threads;
    this.#threads = undefined;
    await threads?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Starts the threads of a migration ahead and resolves when they wait, for {@link MigrateOptions.prepared}: one
 * migration then begins at once, where it would take a hundred milliseconds and more of processor time. Until then it
 * costs some 20 MiB of memory and no processor time, and does not keep the process alive.
 */
export async function prepareMigration(): Promise<PreparedMigration> {
  const threads = SourceThreads.start();
  await threads.ready();
  return new PreparedMigration(threads);
}
