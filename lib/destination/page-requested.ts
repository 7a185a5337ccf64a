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
const BYTES_PER_SLOT = 8 + 8 + 4 + 4 + 4;

export interface PageRequestedDescriptor {
  readonly bitmaps: readonly SharedArrayBuffer[];
  readonly slots: SharedArrayBuffer;
}

/** When a page's fault was read and when it was asked for, in µs; 0 where it was not measured, or is not yet. */
export interface RequestTimes {
  readonly faultUs: number;
  readonly sentUs: number;
}

export class PageRequested {
  readonly #bitmaps: readonly PageBitmap[];
  readonly #slots: SharedArrayBuffer;
  readonly #faultUs: Float64Array;
  readonly #sentUs: Float64Array;
  readonly #taken: Int32Array;
  readonly #blocks: Uint32Array;
  readonly #pages: Uint32Array;
  readonly #settled = { faultUs: 0, sentUs: 0 };
  /** Fault thread: of the pages added since the last request went out. */
  #unsent: number[] = [];

  constructor(blockSizes: readonly number[], shared?: PageRequestedDescriptor) {
    this.#bitmaps = blockSizes.map((size, index) => new PageBitmap(pageCount(size), shared?.bitmaps[index]));
    this.#slots = shared?.slots ?? new SharedArrayBuffer(SLOTS * BYTES_PER_SLOT);
    this.#faultUs = new Float64Array(this.#slots, 0, SLOTS);
    this.#sentUs = new Float64Array(this.#slots, SLOTS * 8, SLOTS);
    this.#taken = new Int32Array(this.#slots, SLOTS * 16, SLOTS);
    this.#blocks = new Uint32Array(this.#slots, SLOTS * 20, SLOTS);
    this.#pages = new Uint32Array(this.#slots, SLOTS * 24, SLOTS);
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
      this.#unsent.push(slot);
      this.#faultUs[slot] = nowUs;
      this.#sentUs[slot] = 0;
      this.#blocks[slot] = blockIndex;
      this.#pages[slot] = page;
      Atomics.store(this.#taken, slot, TAKEN);
    }
    return this.#bitmaps[blockIndex].set(page);
  }

  has(blockIndex: number, page: number): boolean {
    return this.#bitmaps[blockIndex].test(page);
  }

  /** The first page asked for at or after `from` and before `end`, or `end`: absent, the block's number of pages. */
  findNext(blockIndex: number, from: number, end?: number): number {
    return this.#bitmaps[blockIndex].findNext(from, end);
  }

  /** Fault thread: the pages added since the last call were asked for at `nowUs`. Only this thread gives slots anew. */
  sent(nowUs: number): void {
    for (const slot of this.#unsent) this.#sentUs[slot] = nowUs;
    this.#unsent.length = 0;
  }

  /** Any thread: the page is there. Undefined if nobody had asked; else the same object at each call. */
  settle(blockIndex: number, page: number): RequestTimes | undefined {
    if (!this.#bitmaps[blockIndex].clear(page)) return undefined;
    const settled = this.#settled;
    settled.faultUs = 0;
    settled.sentUs = 0;
    for (let slot = 0; slot < SLOTS; slot += 1) {
      if (Atomics.load(this.#taken, slot) === FREE || this.#pages[slot] !== page || this.#blocks[slot] !== blockIndex)
        continue;
      settled.faultUs = this.#faultUs[slot];
      settled.sentUs = this.#sentUs[slot];
      Atomics.store(this.#taken, slot, FREE);
      break;
    }
    return settled;
  }
}
