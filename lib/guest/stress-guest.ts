/**
 * The stress guest: native threads that rewrite RAM in a random order with content that proves itself,
 * so that a page which is lost, torn or stale after a migration is found exactly (docs/stress-guest.md).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { pageCount } from '../memory/page.js';
import type { RAMBlock } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import {
  native,
  type StressGuestHandle,
  type StressGuestOptions,
  type StressGuestStats,
  type StressGuestVerdict,
} from '../native.js';
import { type BlockSettings, createBlocks } from './guest-blocks.js';

/** The name of its first RAM block; the others are `stress.ram.1` and so on. */
export const STRESS_IDSTR = 'stress.ram';

export interface StressGuestSettings extends BlockSettings {
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
  #closed = false;

  private constructor(blocks: readonly RAMBlock[], options: StressGuestOptions) {
    this.ramBlocks = blocks;
    this.#handle = native().stressGuestCreate(
      blocks.map(({ handle }) => handle),
      options,
    );
  }

  /** Makes a guest and fills its RAM; stopped. */
  static async create(settings: StressGuestSettings): Promise<StressGuest> {
    const guest = StressGuest.empty(settings);
    try {
      await native().stressGuestFill(guest.#handle);
      return guest;
    } catch (error) {
      guest.close();
      throw error;
    }
  }

  /** A guest with nothing in its RAM, to be filled by a migration; its settings come with the device state. */
  static empty(settings: StressGuestSettings): StressGuest {
    const { vcpus = 1, seed = 1, filledShare = 7 / 8, workingSetShare = 1 / 4, writesPerSecond = 20_000 } = settings;
    const blocks = createBlocks(STRESS_IDSTR, settings);
    const pages = pageCount(new RAMList(blocks).size);
    const filledPages = Math.min(pages, Math.max(vcpus, Math.ceil(pages * filledShare)));
    const workingSetPages = Math.min(filledPages, Math.max(vcpus, Math.ceil(pages * workingSetShare)));
    try {
      return new StressGuest(blocks, { vcpus, seed, filledPages, workingSetPages, writesPerSecond });
    } catch (error) {
      for (const block of blocks) block.close();
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

  /** See {@link Guest.throttle}; at once, also while it is stopped. Throws a RangeError beyond 0 to 99. */
  throttle(percent: number): void {
    native().stressGuestThrottle(this.#handle, percent);
  }

  /** See {@link Guest.vcpuThreads}; none before its first start. */
  get vcpuThreads(): readonly number[] {
    return native().stressGuestThreads(this.#handle);
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

  /**
   * Ends its threads and lets go of its RAM; harmless twice. A thread that waits for a page stays, and keeps
   * the RAM.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    native().stressGuestClose(this.#handle);
    for (const block of this.ramBlocks) block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
