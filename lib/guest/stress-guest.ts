/**
 * The stress guest: native threads that rewrite RAM in a random order with content that proves itself,
 * so that a page which is lost, torn or stale after a migration is found exactly (docs/stress-guest.md).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { pageCount, TARGET_PAGE_SIZE } from '../memory/page.js';
import { type MemoryKind, RAMBlock } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import {
  native,
  type StressGuestHandle,
  type StressGuestOptions,
  type StressGuestStats,
  type StressGuestVerdict,
} from '../native.js';

/** The name of its first RAM block; the others are `stress.ram.1` and so on. */
export const STRESS_IDSTR = 'stress.ram';
const MAX_BLOCKS = 64;

export interface StressGuestSettings {
  /** Bytes of RAM, all blocks together; each block is rounded up to whole host pages of its kind. */
  readonly memory: number;
  /** RAM blocks it is split over, 1 to 64, each larger than the one before where there is enough; 1 when absent. */
  readonly blocks?: number;
  /** Of every block; `anonymous` when absent. */
  readonly kind?: MemoryKind;
  /** The kinds of the blocks in turn, from the first again where there are more blocks; in place of `kind`. */
  readonly kinds?: readonly MemoryKind[];
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

/**
 * Pages of each block: one, and of the rest a share that grows with its place. No two blocks of a guest of some
 * size are of one size then, so that a mix-up of two shows.
 */
function splitPages(pages: number, blocks: number): number[] {
  const rest = Math.max(0, pages - blocks);
  const upTo = (index: number) => Math.floor((rest * index * (index + 1)) / (blocks * (blocks + 1)));
  return Array.from({ length: blocks }, (_, index) => 1 + upTo(index + 1) - upTo(index));
}

/** Maps its blocks; all or none. */
function createBlocks({ memory, blocks = 1, kind = 'anonymous', kinds = [kind] }: StressGuestSettings): RAMBlock[] {
  if (!Number.isInteger(blocks) || blocks < 1 || blocks > MAX_BLOCKS || kinds.length === 0) {
    throw new MigrationError('BAD_ARGUMENT', `a stress guest of ${blocks} blocks of ${kinds.length} kinds`, {
      hint: `use 1 to ${MAX_BLOCKS} blocks and at least one kind`,
    });
  }
  if (!Number.isSafeInteger(memory) || memory <= 0) {
    throw new MigrationError('BAD_ARGUMENT', `a stress guest of ${memory} bytes`, {
      hint: 'give a whole number above 0',
    });
  }
  const created: RAMBlock[] = [];
  try {
    for (const [index, pages] of splitPages(Math.ceil(memory / TARGET_PAGE_SIZE), blocks).entries()) {
      const idstr = index === 0 ? STRESS_IDSTR : `${STRESS_IDSTR}.${index}`;
      created.push(RAMBlock.create({ idstr, size: pages * TARGET_PAGE_SIZE, kind: kinds[index % kinds.length] }));
    }
    return created;
  } catch (error) {
    for (const block of created) block.close();
    throw error;
  }
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
    const blocks = createBlocks(settings);
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
