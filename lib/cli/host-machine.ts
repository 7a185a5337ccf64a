/**
 * The machine of a QEMU that `postcopy host` takes in, from whoever sends one, and keeps where it is told to. Where one
 * does not arrive, and its source has it still, the next one takes its place.
 */
import type { IncomingMigration } from '../destination/incoming.js';
import { describeError } from '../errors.js';
import { MachineSaver } from '../machine/machine-saver.js';
import type { Guest, Machine, MachineReceiver } from '../memory/guest.js';
import type { RamBlockEntry } from '../wire/messages.js';
import { LostMachine } from './lost-machine.js';

/** Nothing ends what is only told and kept. */
const never = new AbortController().signal;

export class HostMachine implements MachineReceiver {
  readonly #directory: string | undefined;
  readonly #tell: (text: string) => void;
  #saver: MachineSaver;
  #isTaken = false;
  #kept: Promise<void> = Promise.resolve();

  private constructor(saver: MachineSaver, directory: string | undefined, tell: (text: string) => void) {
    this.#saver = saver;
    this.#directory = directory;
    this.#tell = tell;
  }

  /** Rejects with SAVE_FAILED where the directory can't be made or written to, or is not empty. */
  static async create(directory: string | undefined, tell: (text: string) => void): Promise<HostMachine> {
    return new HostMachine(await newSaver(directory), directory, tell);
  }

  async receive(machine: Machine, blocks: readonly RamBlockEntry[]): Promise<Guest> {
    if (this.#isTaken) {
      await this.#saver.close();
      this.#saver = await newSaver(this.#directory);
    }
    this.#isTaken = true;
    return this.#saver.receive(machine, blocks);
  }

  /** Keeps what this migration brings, or what came of it. */
  attend(incoming: IncomingMigration): void {
    this.#kept = this.#keep(incoming).catch((error) => this.#tell(describeError(error)));
  }

  /** Once all is kept that there is to keep, and its memory let go of. */
  async close(): Promise<void> {
    await this.#kept;
    await this.#saver.close();
  }

  async #keep(incoming: IncomingMigration): Promise<void> {
    const directory = this.#directory;
    try {
      await incoming.finished;
    } catch (error) {
      await new LostMachine(incoming, this.#saver, { policy: 'exit', directory, tell: this.#tell }).settle(
        error,
        never,
      );
      return;
    }
    const { uri } = incoming;
    const { machine } = await this.#saver.finish({ uri, postcopy: incoming.info().postcopy });
    if (directory !== undefined) this.#tell(`the machine (${machine}) is saved in ${directory}`);
  }
}

function newSaver(directory: string | undefined): Promise<MachineSaver> {
  return MachineSaver.create(directory === undefined ? {} : { directory });
}
