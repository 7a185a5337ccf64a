/**
 * What `postcopy receive` does with a machine that was handed over to it and did not come whole: says so, keeps the
 * half that came, and lets its memory go, freezes or poisons it.
 */
import type { IncomingMigration } from '../destination/incoming.js';
import { describeError, MigrationError } from '../errors.js';
import type { MachineSaver } from '../machine/machine-saver.js';
import type { EventDetail } from './live-line.js';
import { formatCount } from './size.js';

export const lossPolicies = ['exit', 'freeze', 'poison'] as const;
export type LossPolicy = (typeof lossPolicies)[number];

export interface LostMachineOptions {
  readonly policy: LossPolicy;
  /** Where the half is kept, if anywhere. */
  readonly directory: string | undefined;
  readonly tell: (text: string, detail?: EventDetail) => void;
}

export class LostMachine {
  readonly #incoming: IncomingMigration;
  readonly #saver: MachineSaver;
  readonly #options: LostMachineOptions;
  #keeping: Promise<void> | undefined;
  #isKept = false;

  constructor(incoming: IncomingMigration, saver: MachineSaver, options: LostMachineOptions) {
    this.#incoming = incoming;
    this.#saver = saver;
    this.#options = options;
  }

  /** Whether the half is in the directory. */
  get isKept(): boolean {
    return this.#isKept;
  }

  /** Ends a migration that is paused, as the policy has it. Never rejects. */
  async giveUp(): Promise<void> {
    if (this.#options.policy !== 'poison') {
      this.#incoming.giveUp('freeze');
      return;
    }
    // The reader of RAM stands before a missing page: its SIGBUS ends this process.
    await this.#keep();
    this.#options.tell('missing pages are poisoned: who reads one, as this process does, ends by SIGBUS');
    try {
      this.#incoming.giveUp('poison');
    } catch (error) {
      this.#options.tell(describeError(error));
      this.#incoming.giveUp('freeze');
    }
  }

  /** The migration has failed with `error`: tells what that means, and returns once the memory is let go of. */
  async settle(error: unknown, interrupted: AbortSignal): Promise<void> {
    const { lost } = this.#incoming.info();
    if (lost !== undefined) {
      const { policy, tell } = this.#options;
      tell(
        `the machine had been handed over and is lost: ${formatCount(lost.missingPages)} of its pages had not come`,
        {
          level: 'error',
          event: 'lost',
          missingPages: lost.missingPages,
        },
      );
      await this.#keep();
      if (policy === 'freeze' && !isCancelled(error)) {
        tell('its memory is frozen: who reads a missing page waits, until Ctrl-C');
        await aborted(interrupted);
      }
    }
    this.#incoming.abandon();
  }

  /** Once; a failure is told, and changes nothing else. */
  #keep(): Promise<void> {
    this.#keeping ??= this.#save().catch((error) => this.#options.tell(describeError(error), { level: 'error' }));
    return this.#keeping;
  }

  async #save(): Promise<void> {
    const { directory, tell } = this.#options;
    if (directory === undefined) return;
    const { received, uri } = this.#incoming;
    const path = await this.#saver.keepHalf(received, { uri, postcopy: true });
    this.#isKept = true;
    tell(
      `what came of it is saved in ${path}; with what "send --save-remainder" keeps it is made whole by\n` +
        `  postcopy reconcile ${path} SOURCE_DIR --out DIR`,
    );
  }
}

const isCancelled = (error: unknown): boolean => error instanceof MigrationError && error.code === 'CANCELLED';

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    // A promise alone does not keep the process.
    const stay = setInterval(() => {}, 2 ** 30);
    signal.addEventListener('abort', () => {
      clearInterval(stay);
      resolve();
    });
  });
}
