/** A machine receiver that keeps what comes, so that it can be held against its source. Runs nothing. */
import { type Guest, RAMBlock } from '#lib/index.js';
import type { Machine, MachineReceiver } from '#lib/memory/guest.js';
import type { RamBlockEntry } from '#lib/wire/messages.js';

class ReceivedMachine implements Guest {
  readonly machine: Machine;
  readonly ramBlocks: readonly RAMBlock[];
  /** Only so called: it has no vCPUs. */
  running = false;
  deviceState = new Uint8Array();
  vmDescription: string | undefined;

  constructor(machine: Machine, blocks: readonly RamBlockEntry[]) {
    this.machine = machine;
    this.ramBlocks = blocks.map(({ idstr, usedLength }) => RAMBlock.create({ idstr, size: usedLength }));
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
    this.deviceState = Uint8Array.from(state);
    this.vmDescription = vmDescription;
  }
}

export class KeepingReceiver implements MachineReceiver {
  #machine: ReceivedMachine | undefined;

  receive(machine: Machine, blocks: readonly RamBlockEntry[]): Guest {
    this.#machine = new ReceivedMachine(machine, blocks);
    return this.#machine;
  }

  /** What came. Throws when nothing has. */
  get received(): ReceivedMachine {
    if (this.#machine === undefined) throw new Error('no machine has come');
    return this.#machine;
  }

  /** The content of the one block whose name ends so. Only when all of it is here. */
  content(nameEnd: string): Buffer {
    const found = this.received.ramBlocks.filter(({ idstr }) => idstr.endsWith(nameEnd));
    if (found.length !== 1) throw new Error(`${found.length} blocks have names that end with ${nameEnd}`);
    return Buffer.from(found[0].bytes());
  }

  [Symbol.dispose](): void {
    for (const block of this.#machine?.ramBlocks ?? []) block.close();
  }
}
