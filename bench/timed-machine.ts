/** A machine kept in this process that tells when its vCPUs would have been started, and when stopped. */
import type { Machine, MachineReceiver } from '#lib/memory/guest.js';
import type { MemoryKind } from '#lib/memory/ram-block.js';
import type { RamBlockEntry } from '#lib/wire/messages.js';
import { KeptMachine } from '../testing/machine-keeper.ts';
import { epochMs } from './epoch.ts';

export class TimedMachine extends KeptMachine {
  /** Milliseconds since 1970; 0 where it never was. */
  startedMs = 0;
  stoppedMs = 0;

  override async start(): Promise<void> {
    this.startedMs = epochMs();
    await super.start();
  }

  override async stop(): Promise<void> {
    await super.stop();
    this.stoppedMs = epochMs();
  }
}

export class TimedMachineReceiver implements MachineReceiver {
  readonly #onLoaded: (machine: KeptMachine) => void;
  readonly #kind: MemoryKind;
  #kept: TimedMachine | undefined;

  /** `onLoaded` and `kind` are of {@link KeptMachine}. */
  constructor(onLoaded: (machine: KeptMachine) => void = () => {}, kind: MemoryKind = 'anonymous') {
    this.#onLoaded = onLoaded;
    this.#kind = kind;
  }

  /** Throws where none has come. */
  get kept(): TimedMachine {
    if (this.#kept === undefined) throw new Error('no machine has come');
    return this.#kept;
  }

  receive(machine: Machine, blocks: readonly RamBlockEntry[]): TimedMachine {
    this.#kept = new TimedMachine(machine, blocks, this.#onLoaded, this.#kind);
    return this.#kept;
  }
}
