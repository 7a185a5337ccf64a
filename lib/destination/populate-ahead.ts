/**
 * Memory made ready ahead of the pages of a precopy, by a thread of the pool: clearing fresh memory is most of what
 * loading a page costs, and while the main thread did it, the source waited for it. Main thread only.
 *
 * Only where data comes densely and in order: in between zero pages, and behind them, memory may never be wanted.
 * Not with postcopy, where what is not received has to be missing. Pure but for `populate`.
 */
import { HUGE_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';

/** Bytes populated at a time: a huge page, where there are any. */
const STEP_BYTES = HUGE_PAGE_SIZE;
/** Steps that memory is kept ready ahead. */
const STEPS_AHEAD = 4;

export type Populate = (block: RAMBlockDescriptor, offset: number, length: number) => void;

export class PopulateAhead {
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #populate: Populate;
  /** Per block, in bytes from its begin: up to where it has been populated. */
  readonly #until: Float64Array;
  /** The step that the last pages were in: its block, its number, and bytes of data and of all pages in it so far. */
  #block = -1;
  #step = -1;
  #dataBytes = 0;
  #bytes = 0;

  constructor(blocks: readonly RAMBlockDescriptor[], populate: Populate) {
    this.#blocks = blocks;
    this.#populate = populate;
    this.#until = new Float64Array(blocks.length);
  }

  /** Pages of a block have come, `bytes` of them, the last of which begins at `offset`; `isData`: not zero. */
  came(blockIndex: number, offset: number, bytes: number, isData: boolean): void {
    const step = Math.floor(offset / STEP_BYTES);
    if (blockIndex !== this.#block || step !== this.#step) this.#enter(blockIndex, step);
    this.#bytes += bytes;
    if (isData) this.#dataBytes += bytes;
  }

  /** A step begins; the one before says what to expect of it, if it lies right behind that. */
  #enter(blockIndex: number, step: number): void {
    const follows = blockIndex === this.#block && step === this.#step + 1;
    const wasDense = this.#bytes >= STEP_BYTES / 2 && this.#dataBytes >= this.#bytes / 2;
    this.#block = blockIndex;
    this.#step = step;
    this.#dataBytes = 0;
    this.#bytes = 0;
    if (follows && wasDense) this.#reach(blockIndex, (step + 1 + STEPS_AHEAD) * STEP_BYTES);
  }

  #reach(blockIndex: number, wanted: number): void {
    const block = this.#blocks[blockIndex];
    const end = Math.min(wanted, block.size);
    // What the step that has begun needs is there, or is being made by who loads it.
    let at = Math.max(this.#until[blockIndex], (this.#step + 1) * STEP_BYTES);
    for (; at < end; at += STEP_BYTES) this.#populate(block, at, Math.min(STEP_BYTES, end - at));
    this.#until[blockIndex] = Math.max(this.#until[blockIndex], end);
  }
}
