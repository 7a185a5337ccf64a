/**
 * The stress guest: native threads that rewrite RAM in a random order with content that proves itself,
 * so that a page which is lost, torn or stale after a migration is found exactly (docs/stress-guest.md).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { pageCount } from '../memory/page.js';
import { type MemoryKind, RAMBlock } from '../memory/ram-block.js';
import {
  native,
  type StressGuestHandle,
  type StressGuestOptions,
  type StressGuestStats,
  type StressGuestVerdict,
} from '../native.js';

/** The name of its one RAM block. */
export const STRESS_IDSTR = 'stress.ram';

export interface StressGuestSettings {
  /** Bytes of RAM, whole pages. */
  readonly memory: number;
  readonly kind?: MemoryKind;
  /** Native threads that write; 1 when absent. */
  readonly vcpus?: number;
  /** Seed of contents and order; 1 when absent. */
  readonly seed?: number;
  /** Share of RAM with content from the start, the rest stays zero; 7/8 when absent. */
  readonly filledShare?: number;
  /** Share of RAM that is rewritten again and again; 1/4 when absent. */
  readonly workingSetShare?: number;
  /** Page writes a second, over all vCPUs; 0 is as fast as they go. 20,000 when absent. */
  readonly writesPerSecond?: number;
}

/** Milliseconds to wait for the vCPUs without giving way: they stop within one page write. */
const STOP_AT_ONCE_MS = 5;
/** Then, as a vCPU may wait for a page from the source: milliseconds between two looks. */
const STOP_LOOK_MS = 1;

export class StressGuest implements Guest {
  readonly ramBlocks: readonly RAMBlock[];
  readonly #handle: StressGuestHandle;
  #running = false;

  private constructor(block: RAMBlock, options: StressGuestOptions) {
    this.ramBlocks = [block];
    this.#handle = native().stressGuestCreate(block.handle, options);
  }

  /** Makes a guest and fills its RAM; stopped. */
  static async create(settings: StressGuestSettings): Promise<StressGuest> {
    const guest = StressGuest.empty(settings);
    await native().stressGuestFill(guest.#handle);
    return guest;
  }

  /** A guest with nothing in its RAM, to be filled by a migration; its settings come with the device state. */
  static empty(settings: StressGuestSettings): StressGuest {
    const {
      memory,
      kind = 'anonymous',
      vcpus = 1,
      seed = 1,
      filledShare = 7 / 8,
      workingSetShare = 1 / 4,
      writesPerSecond = 20_000,
    } = settings;
    const block = RAMBlock.create({ idstr: STRESS_IDSTR, size: memory, kind });
    const pages = pageCount(block.size);
    const filledPages = Math.min(pages, Math.max(vcpus, Math.ceil(pages * filledShare)));
    const workingSetPages = Math.min(filledPages, Math.max(vcpus, Math.ceil(pages * workingSetShare)));
    try {
      return new StressGuest(block, { vcpus, seed, filledPages, workingSetPages, writesPerSecond });
    } catch (error) {
      block.close();
      throw error;
    }
  }

  get running(): boolean {
    return this.#running;
  }

  async start(): Promise<void> {
    native().stressGuestStart(this.#handle);
    this.#running = true;
  }

  async stop(): Promise<void> {
    const { stressGuestStop } = native();
    for (let waitMs = STOP_AT_ONCE_MS; !stressGuestStop(this.#handle, waitMs); waitMs = 0) await delay(STOP_LOOK_MS);
    this.#running = false;
  }

  async saveDeviceState(): Promise<Uint8Array> {
    return native().stressGuestSave(this.#handle);
  }

  async loadDeviceState(state: Uint8Array): Promise<void> {
    try {
      native().stressGuestLoad(this.#handle, state);
    } catch (cause) {
      throw new MigrationError(
        'GUEST_FAILED',
        `the stress guest can't take over its device state: ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  /** Checks every page against the device state. Only while stopped, and with all pages here. */
  verify(): Promise<StressGuestVerdict> {
    return native().stressGuestVerify(this.#handle);
  }

  get stats(): StressGuestStats {
    return native().stressGuestStats(this.#handle);
  }

  /** Ends its threads and lets go of its RAM. A thread that waits for a page stays, and keeps the RAM. */
  close(): void {
    native().stressGuestClose(this.#handle);
    for (const block of this.ramBlocks) block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
