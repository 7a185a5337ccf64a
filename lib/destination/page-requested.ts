/**
 * Pages that were asked for and are not there yet, with the moment each fault was read: what keeps a
 * page from being asked for twice, and what fault latency is measured from.
 *
 * The fault thread adds; whichever thread finds the page there removes. Which pages is a bitmap and exact; the moments
 * are kept in a fixed number of slots, as no more faults wait at a time than threads touch the guest.
 * A fault that finds no slot is served like any other and only not measured.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount } from '../memory/page.js';

const SLOTS = 1024;
const FREE = 0;
const TAKEN = 1;
const BYTES_PER_SLOT = 4 + 4 + 4 + 8;

export interface PageRequestedDescriptor {
  readonly bitmaps: readonly SharedArrayBuffer[];
  readonly slots: SharedArrayBuffer;
}

export class PageRequested {
  readonly #bitmaps: readonly PageBitmap[];
  readonly #slots: SharedArrayBuffer;
  readonly #times: Float64Array;
  readonly #taken: Int32Array;
  readonly #blocks: Uint32Array;
  readonly #pages: Uint32Array;

  constructor(blockSizes: readonly number[], shared?: PageRequestedDescriptor) {
    this.#bitmaps = blockSizes.map((size, index) => new PageBitmap(pageCount(size), shared?.bitmaps[index]));
    this.#slots = shared?.slots ?? new SharedArrayBuffer(SLOTS * BYTES_PER_SLOT);
    this.#times = new Float64Array(this.#slots, 0, SLOTS);
    this.#taken = new Int32Array(this.#slots, SLOTS * 8, SLOTS);
    this.#blocks = new Uint32Array(this.#slots, SLOTS * 12, SLOTS);
    this.#pages = new Uint32Array(this.#slots, SLOTS * 16, SLOTS);
  }

  get descriptor(): PageRequestedDescriptor {
    return { bitmaps: this.#bitmaps.map(({ buffer }) => buffer), slots: this.#slots };
  }

  /** Fault thread: notes a fault at `nowUs`; false if the page has been asked for already. */
  add(blockIndex: number, page: number, nowUs: number): boolean {
    if (this.#bitmaps[blockIndex].test(page)) return false;
    // The slot first: who finds the bit set must find its moment.
    const slot = this.#taken.indexOf(FREE);
    if (slot >= 0) {
      this.#times[slot] = nowUs;
      this.#blocks[slot] = blockIndex;
      this.#pages[slot] = page;
      Atomics.store(this.#taken, slot, TAKEN);
    }
    return this.#bitmaps[blockIndex].set(page);
  }

  /** The first page asked for at or after `from`, or the block's number of pages. */
  findNext(blockIndex: number, from: number): number {
    return this.#bitmaps[blockIndex].findNext(from);
  }

  /**
   * Any thread: the page is there. When its fault was read, in µs; 0 if it was asked for but not
   * measured; -1 if nobody had asked.
   */
  settle(blockIndex: number, page: number): number {
    if (!this.#bitmaps[blockIndex].clear(page)) return -1;
    for (let slot = 0; slot < SLOTS; slot += 1) {
      if (Atomics.load(this.#taken, slot) === FREE || this.#pages[slot] !== page || this.#blocks[slot] !== blockIndex)
        continue;
      const since = this.#times[slot];
      Atomics.store(this.#taken, slot, FREE);
      return since;
    }
    return 0;
  }
}
