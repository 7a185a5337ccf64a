/**
 * Which pages go next: requested ones first, then dirty ones from where the last were found, round
 * and round over all blocks. Taking a page clears its dirty bit, so whoever reads its content after
 * that reads it at least as new as the bit. Pure over bitmaps and a queue; migration thread only.
 */
import type { PageBitmap } from '../memory/bitmap.js';
import type { PageRequest, PageRequestQueue } from './page-request-queue.js';

/** Pages of one block, in ascending order. Reused from one batch to the next. */
export interface PageBatch {
  blockIndex: number;
  /** Room for the largest batch; `count` are in use. */
  readonly pages: Uint32Array;
  count: number;
  /** Somebody waits for these. */
  urgent: boolean;
}

export function createPageBatch(capacity: number): PageBatch {
  return { blockIndex: 0, pages: new Uint32Array(capacity), count: 0, urgent: false };
}

export class PageSearch {
  readonly #dirty: readonly PageBitmap[];
  readonly #queue: PageRequestQueue;
  readonly #request: PageRequest = { blockIndex: 0, firstPage: 0, pageCount: 0 };
  #blockIndex = 0;
  #page = 0;

  constructor(dirty: readonly PageBitmap[], queue: PageRequestQueue) {
    this.#dirty = dirty;
    this.#queue = queue;
  }

  /**
   * Takes up to `limit` pages into `batch`, those of one request or of the scan; false when nothing
   * is dirty and nothing asked for. A scan batch ends at the end of its block.
   */
  next(batch: PageBatch, limit: number): boolean {
    return this.#takeRequested(batch) || this.#takeDirty(batch, limit);
  }

  /** Takes the pages of the oldest request that has any still to send. */
  #takeRequested(batch: PageBatch): boolean {
    const request = this.#request;
    for (;;) {
      if (request.pageCount === 0 && !this.#queue.shift(request)) return false;
      const { blockIndex, firstPage } = request;
      const taken = Math.min(request.pageCount, batch.pages.length);
      this.#begin(batch, blockIndex, true);
      for (let page = firstPage; page < firstPage + taken; page += 1) this.#take(batch, page);
      request.firstPage += taken;
      request.pageCount -= taken;
      if (batch.count === 0) continue; // sent before: the request and the page crossed on the way
      this.#blockIndex = blockIndex; // what is needed next is probably near
      this.#page = firstPage + taken;
      return true;
    }
  }

  #takeDirty(batch: PageBatch, limit: number): boolean {
    for (let looked = 0; looked <= this.#dirty.length; looked += 1) {
      const bitmap = this.#dirty[this.#blockIndex];
      this.#begin(batch, this.#blockIndex, false);
      let page = bitmap.findNext(this.#page);
      while (page < bitmap.pageCount && batch.count < limit) {
        this.#take(batch, page);
        page = bitmap.findNext(page + 1);
      }
      this.#page = page;
      if (batch.count > 0) return true;
      this.#nextBlock();
    }
    return false;
  }

  #nextBlock(): void {
    this.#page = 0;
    this.#blockIndex += 1;
    if (this.#blockIndex === this.#dirty.length) this.#blockIndex = 0;
  }

  #begin(batch: PageBatch, blockIndex: number, urgent: boolean): void {
    batch.blockIndex = blockIndex;
    batch.count = 0;
    batch.urgent = urgent;
  }

  #take(batch: PageBatch, page: number): void {
    if (!this.#dirty[batch.blockIndex].clear(page)) return;
    batch.pages[batch.count] = page;
    batch.count += 1;
  }
}
