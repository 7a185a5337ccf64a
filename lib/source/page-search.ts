/**
 * Which pages go next: requested ones first, then dirty ones from where the last were found, round
 * and round over all blocks. Taking a page clears its dirty bit, so whoever reads its content after
 * that reads it at least as new as the bit. Over bitmaps and a queue; migration thread only.
 *
 * In postcopy the destination places whole host pages, so once one has begun the rest of it follows, in
 * order, before anything else. The bitmaps hold whole host pages then (discard-bitmap.ts). Whoever clears the bit of
 * the first target page of a host page sends all of it: with a preempt channel the return path thread takes requested
 * ones (urgent-pages.ts).
 */
import type { PageBitmap } from '../memory/bitmap.js';
import { alignDown, alignUp, HUGE_PAGE_PAGES, pageOffset } from '../memory/page.js';
import type { Trace } from '../trace/trace.js';
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
  readonly #hostPages: readonly number[];
  readonly #trace: Trace;
  readonly #request: PageRequest = { blockIndex: 0, firstPage: 0, pageCount: 0 };
  #wholeHostPages = false;
  #blockIndex = 0;
  #page = 0;
  /** Where the host page ends that was begun here last. */
  #ownedEnd = 0;

  /** `hostPages[i]`: target pages of one host page of block i. */
  constructor(dirty: readonly PageBitmap[], queue: PageRequestQueue, hostPages: readonly number[], trace: Trace) {
    this.#dirty = dirty;
    this.#queue = queue;
    this.#hostPages = hostPages;
    this.#trace = trace;
  }

  /** From here on host pages go whole, and each bitmap is dirty in whole host pages. */
  sendWholeHostPages(): void {
    this.#wholeHostPages = true;
    this.#page = alignDown(this.#page, this.#hostPages[this.#blockIndex]);
  }

  /** Another connection: what was under way is asked for again, and sent again from its begin. */
  restart(): void {
    while (this.#queue.shift(this.#request));
    this.#request.pageCount = 0;
    this.#ownedEnd = 0;
    this.#page = alignDown(this.#page, this.#hostPages[this.#blockIndex]);
  }

  /** A request or a host page is under way, and nothing may hold back the rest of it. */
  get isUnderWay(): boolean {
    return this.#request.pageCount > 0 || this.#restOfHostPage > 0;
  }

  /**
   * Takes up to `limit` pages into `batch`, those of a host page that has begun, of one request or of the
   * scan; false when nothing is dirty and nothing asked for. A scan batch ends at the end of its block.
   */
  next(batch: PageBatch, limit: number): boolean {
    if (this.#request.pageCount > 0 && this.#takeRequested(batch)) return true;
    const rest = this.#restOfHostPage;
    if (rest > 0) return this.#takeDirty(batch, Math.min(limit, rest));
    return this.#takeRequested(batch) || this.#takeDirty(batch, limit);
  }

  get #restOfHostPage(): number {
    if (!this.#wholeHostPages) return 0;
    const hostPages = this.#hostPages[this.#blockIndex];
    const begun = this.#page % hostPages;
    const isBegun = begun > 0 && this.#page < this.#ownedEnd && this.#dirty[this.#blockIndex].test(this.#page);
    return isBegun ? hostPages - begun : 0;
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
      const point = batch.count === 0 ? 'get_queued_page_not_dirty' : 'get_queued_page';
      this.#trace.at(point, blockIndex, pageOffset(firstPage), pageOffset(taken));
      if (batch.count === 0) continue; // sent before: the request and the page crossed on the way
      this.#blockIndex = blockIndex; // what is needed next is probably near
      this.#page = firstPage + taken;
      this.#ownedEnd = this.#page;
      return true;
    }
  }

  #takeDirty(batch: PageBatch, limit: number): boolean {
    for (let looked = 0; looked <= this.#dirty.length; looked += 1) {
      const bitmap = this.#dirty[this.#blockIndex];
      this.#begin(batch, this.#blockIndex, false);
      const hostPages = this.#hostPages[this.#blockIndex];
      let page = bitmap.findNext(this.#page);
      while (page < bitmap.pageCount && batch.count < limit && !endsHugePage(batch, page)) {
        const begins = !this.#wholeHostPages || page % hostPages === 0;
        if (!begins && page >= this.#ownedEnd) {
          page = bitmap.findNext(alignUp(page, hostPages)); // the rest of it is sent by whoever has begun it
          continue;
        }
        if (this.#take(batch, page) && begins) this.#ownedEnd = page + hostPages;
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
    this.#ownedEnd = 0;
    this.#blockIndex += 1;
    if (this.#blockIndex === this.#dirty.length) this.#blockIndex = 0;
  }

  #begin(batch: PageBatch, blockIndex: number, urgent: boolean): void {
    batch.blockIndex = blockIndex;
    batch.count = 0;
    batch.urgent = urgent;
  }

  /** False where it is not dirty any more. */
  #take(batch: PageBatch, page: number): boolean {
    if (!this.#dirty[batch.blockIndex].clear(page)) return false;
    batch.pages[batch.count] = page;
    batch.count += 1;
    return true;
  }
}

/** Pages without a gap up to the begin of a huge page: what comes next may go as a whole one. */
function endsHugePage({ pages, count }: PageBatch, page: number): boolean {
  return count > 0 && page % HUGE_PAGE_PAGES === 0 && page - pages[0] === count;
}
