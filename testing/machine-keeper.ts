/**
 * A guest of whatever machine comes, kept in this process: its RAM in blocks that can be read, its devices as bytes.
 */
import type { Guest, Machine, MachineLike, MachineReceiver } from '#lib/memory/guest.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import type { RamBlockEntry } from '#lib/wire/messages.js';

export class KeptMachine implements Guest {
  machine: Machine;
  readonly ramBlocks: readonly RAMBlock[];
  running = false;
  deviceState: Uint8Array = new Uint8Array();
  readonly #onLoaded: (machine: KeptMachine) => void;

  /** `onLoaded`: it has been handed over, and its pages may be touched. `kind` is of blocks without huge pages. */
  constructor(
    machine: Machine,
    blocks: readonly RamBlockEntry[],
    onLoaded: (machine: KeptMachine) => void = () => {},
    kind: MemoryKind = 'anonymous',
  ) {
    this.machine = machine;
    this.#onLoaded = onLoaded;
    this.ramBlocks = blocks.map(({ idstr, usedLength, pageSize }) =>
      RAMBlock.create({
        idstr,
        size: usedLength,
        ...(pageSize === undefined ? { kind } : { kind: 'hugetlb', pageSize }),
      }),
    );
  }

  /** The content of a block. Throws a RangeError where there is none of that name. */
  bytesOf(idstr: string): Uint8Array {
    const block = this.ramBlocks.find((candidate) => candidate.idstr === idstr);
    if (block === undefined) throw new RangeError(`the machine has no RAM block ${idstr}`);
    return block.bytes();
  }

  async start(): Promise<void> {
    this.running = true;
  }

  async stop(): Promise<void> {
    this.running = false;
  }

  async saveDeviceState(): Promise<Uint8Array> {
    return this.deviceState;
  }

  async loadDeviceState(state: Uint8Array, vmDescription?: string): Promise<void> {
    this.deviceState = state;
    if (vmDescription !== undefined) this.machine = { ...this.machine, vmDescription };
    this.#onLoaded(this);
  }

  [Symbol.dispose](): void {
    for (const block of this.ramBlocks) block.close();
  }
}

export class MachineKeeper implements MachineReceiver {
  readonly like?: MachineLike;
  readonly #onLoaded: ((machine: KeptMachine) => void) | undefined;
  #kept: KeptMachine | undefined;

  /** `onLoaded` is of {@link KeptMachine}. */
  constructor(like?: MachineLike, onLoaded?: (machine: KeptMachine) => void) {
    if (like !== undefined) this.like = like;
    this.#onLoaded = onLoaded;
  }

  /** Throws where none has come. */
  get kept(): KeptMachine {
    if (this.#kept === undefined) throw new Error('no machine has come');
    return this.#kept;
  }

  receive(machine: Machine, blocks: readonly RamBlockEntry[]): KeptMachine {
    this.#kept = new KeptMachine(machine, blocks, this.#onLoaded);
    return this.#kept;
  }

  [Symbol.dispose](): void {
    this.#kept?.[Symbol.dispose]();
  }
}
