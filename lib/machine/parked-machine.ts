/**
 * A saved machine that counts as running where it ran when it was saved: it has no vCPUs here, and its device state has
 * it go on where it is sent to. What a host tells of it is what a QEMU would, that has it.
 */
import type { Guest, Machine } from '../memory/guest.js';
import type { RAMBlock } from '../memory/ram-block.js';
import type { SavedMachine } from './saved-machine.js';

export class ParkedMachine implements Guest {
  readonly #saved: SavedMachine;
  #isRunning: boolean;

  constructor(saved: SavedMachine) {
    this.#saved = saved;
    this.#isRunning = saved.manifest.runState === 'running';
  }

  get machine(): Machine {
    return this.#saved.machine;
  }

  get ramBlocks(): readonly RAMBlock[] {
    return this.#saved.ramBlocks;
  }

  get running(): boolean {
    return this.#isRunning;
  }

  async start(): Promise<void> {
    this.#isRunning = true;
  }

  async stop(): Promise<void> {
    this.#isRunning = false;
  }

  saveDeviceState(): Promise<Uint8Array> {
    return this.#saved.saveDeviceState();
  }

  loadDeviceState(): Promise<void> {
    return this.#saved.loadDeviceState();
  }
}
