/** A guest that is kept as it came, and is sent on from there: RAM and device sections, nothing runs. */
import type { Guest, Machine, MachineReceiver } from '#lib/memory/guest.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import type { RamBlockEntry } from '#lib/wire/messages.js';

export class KeptMachine implements Guest {
  readonly machine: Machine;
  readonly ramBlocks: readonly RAMBlock[];
  readonly running = false;
  readonly #onLoaded: (guest: KeptMachine) => void;
  #state: Uint8Array = new Uint8Array();

  /** `onLoaded`: it has been handed over, and its pages may be touched. */
  constructor(machine: Machine, blocks: readonly RamBlockEntry[], onLoaded: (guest: KeptMachine) => void) {
    this.machine = machine;
    this.ramBlocks = blocks.map(({ idstr, usedLength }) => RAMBlock.create({ idstr, size: usedLength }));
    this.#onLoaded = onLoaded;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  async saveDeviceState(): Promise<Uint8Array> {
    return this.#state;
  }

  async loadDeviceState(state: Uint8Array): Promise<void> {
    this.#state = state;
    this.#onLoaded(this);
  }
}

/** Keeps the machine that comes. */
export class Keeper implements MachineReceiver {
  readonly #onLoaded: (guest: KeptMachine) => void;
  kept: KeptMachine | undefined;

  constructor(onLoaded: (guest: KeptMachine) => void = () => {}) {
    this.#onLoaded = onLoaded;
  }

  receive(machine: Machine, blocks: readonly RamBlockEntry[]): Guest {
    this.kept = new KeptMachine(machine, blocks, this.#onLoaded);
    return this.kept;
  }
}
