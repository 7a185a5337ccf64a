/**
 * Placing pages in postcopy, while the guest runs and waits for them: each goes in whole by
 * UFFDIO_COPY or UFFDIO_ZEROPAGE, which wakes who waits, then counts as received. Each thread that reads pages
 * has one.
 *
 * 1. Received is set only after the page is there.
 * 2. A page that is there already is left as it is: the guest may have written it since.
 * 3. A page that the guest has let go of is not placed any more (removed-pages.ts).
 */

import { MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import { HUGE_PAGE_PAGES, HUGE_PAGE_SIZE, pageCount, pageOffset, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native, type UserfaultfdHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import type { Trace } from '../trace/trace.js';
import type { Blocktime } from './blocktime.js';
import type { DestinationCounters } from './destination-counters.js';
import type { DestinationSignals } from './destination-signals.js';
import type { FaultLatency } from './fault-latency.js';
import type { HostPageInstaller } from './host-page.js';
import type { HugePage } from './huge-page.js';
import type { PageInstaller } from './page-collector.js';
import type { PageRequested } from './page-requested.js';
import type { RemovedPages } from './removed-pages.js';

/** Milliseconds to wait for the fault thread to read events, before another try. */
const RETRY_MS = 10;
/** The fault thread reads no event while these are placed: of what is copied, and of zeroes, which cost a tenth. */
const PAGES_PER_LOCK = 16;
const ZERO_PAGES_PER_LOCK = 256;

export interface PlacePageOptions {
  readonly uffd: UserfaultfdHandle;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly received: readonly PageBitmap[];
  readonly requested: PageRequested;
  readonly removed: RemovedPages;
  readonly arena: Uint8Array;
  readonly counters: DestinationCounters;
  readonly signals: DestinationSignals;
  readonly latency: FaultLatency;
  /** With the capability. */
  readonly blocktime: Blocktime | undefined;
  readonly trace: Trace;
}

export class PlacePage implements PageInstaller, HostPageInstaller {
  readonly #o: PlacePageOptions;
  readonly #outcomes = new Uint8Array(ZERO_PAGES_PER_LOCK);
  /** Of a run: its pages, and where in a huge page each of them is. */
  readonly #runPages = new Uint32Array(HUGE_PAGE_PAGES);
  readonly #inHugePage = Uint32Array.from({ length: HUGE_PAGE_PAGES }, (_, i) => pageOffset(i));
  /** One page for fills other than zero. */
  readonly #filled = new Uint8Array(TARGET_PAGE_SIZE);
  /** A single page, as the lists of a native call. */
  readonly #one = new Uint32Array(1);
  readonly #atBegin = new Uint32Array(1);
  #mustRetry = false;
  /** When the bytes that are placed now came in, in µs. */
  arrivedUs = 0;

  constructor(options: PlacePageOptions) {
    this.#o = options;
  }

  pages(blockIndex: number, pages: Uint32Array, count: number, offsets: Uint32Array): void {
    const { arena, counters } = this.#o;
    this.#placeContent(blockIndex, TARGET_PAGE_SIZE, pages, count, arena, offsets);
    counters.add('normal', count);
  }

  fills(blockIndex: number, pages: Uint32Array, count: number, fills: Uint8Array): void {
    if (fills.subarray(0, count).every((fill) => fill === 0)) {
      this.#placeZero(blockIndex, TARGET_PAGE_SIZE, pages, count);
    } else {
      for (let i = 0; i < count; i += 1) {
        this.#filled.fill(fills[i]);
        this.#placeContent(blockIndex, TARGET_PAGE_SIZE, pages.subarray(i), 1, this.#filled, this.#atBegin);
      }
    }
    this.#o.counters.add('duplicate', count);
  }

  hostPage(blockIndex: number, hostPage: number, content: Uint8Array): void {
    const { pageSize } = this.#o.blocks[blockIndex];
    this.#one[0] = hostPage;
    this.#placeContent(blockIndex, pageSize, this.#one, 1, content, this.#atBegin);
    this.#o.counters.add('normal', pageCount(pageSize));
  }

  zeroHostPage(blockIndex: number, hostPage: number): void {
    const { pageSize } = this.#o.blocks[blockIndex];
    this.#one[0] = hostPage;
    this.#placeZero(blockIndex, pageSize, this.#one, 1);
    this.#o.counters.add('duplicate', pageCount(pageSize));
  }

  /** The pages from `first` on, which are zero. */
  zeroRun(blockIndex: number, first: number, count: number): void {
    for (let done = 0; done < count; done += HUGE_PAGE_PAGES) {
      const some = Math.min(HUGE_PAGE_PAGES, count - done);
      this.#placeZero(blockIndex, TARGET_PAGE_SIZE, this.#run(first + done), some);
    }
    this.#o.counters.add('duplicate', count);
  }

  /** The pages of a huge page: moved, or else copied. */
  hugePage(blockIndex: number, first: number, content: HugePage): void {
    const { uffd, blocks, removed, trace, counters } = this.#o;
    const offset = pageOffset(first);
    trace.at('postcopy_place_page', blockIndex, offset, HUGE_PAGE_SIZE);
    removed.lock.acquire();
    let isMoved: boolean;
    try {
      isMoved = !removed.any && content.moveTo(uffd, blocks[blockIndex], offset);
      if (isMoved) this.#settleRun(blockIndex, first, HUGE_PAGE_PAGES);
    } finally {
      removed.lock.release();
    }
    if (!isMoved) {
      const pages = this.#run(first);
      this.#placeContent(blockIndex, TARGET_PAGE_SIZE, pages, HUGE_PAGE_PAGES, content.bytes, this.#inHugePage);
    }
    counters.add('normal', HUGE_PAGE_PAGES);
  }

  #run(first: number): Uint32Array {
    for (let i = 0; i < HUGE_PAGE_PAGES; i += 1) this.#runPages[i] = first + i;
    return this.#runPages;
  }

  /** Pages of `pageSize`, from where their content lies in `bytes`. */
  #placeContent(
    blockIndex: number,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    bytes: Uint8Array,
    offsets: Uint32Array,
  ): void {
    const { uffd, blocks, trace } = this.#o;
    const { handle } = blocks[blockIndex];
    trace.at('postcopy_place_page', blockIndex, pages[0] * pageSize, count * pageSize);
    this.#place(blockIndex, pageSize, pages, count, PAGES_PER_LOCK, (from, rest) =>
      native().placePages(
        uffd,
        handle,
        pageSize,
        pages.subarray(from),
        rest,
        bytes,
        offsets.subarray(from),
        0,
        this.#outcomes,
      ),
    );
  }

  #placeZero(blockIndex: number, pageSize: number, pages: Uint32Array, count: number): void {
    const { uffd, blocks, trace } = this.#o;
    const { handle } = blocks[blockIndex];
    trace.at('postcopy_place_page_zero', blockIndex, pages[0] * pageSize, count * pageSize);
    this.#place(blockIndex, pageSize, pages, count, ZERO_PAGES_PER_LOCK, (from, rest) =>
      native().placeZeroPages(uffd, handle, pageSize, pages.subarray(from), rest, this.#outcomes),
    );
  }

  /**
   * Has `place` install pages[from …], `rest` of them but at most `most` under one lock, until each one has an
   * outcome that is final.
   */
  #place(
    blockIndex: number,
    pageSize: number,
    pages: Uint32Array,
    count: number,
    most: number,
    place: (from: number, rest: number) => number,
  ): void {
    const { signals, removed } = this.#o;
    let from = 0;
    while (from < count) {
      const eventsRead = signals.get('EVENTS_READ');
      removed.lock.acquire();
      try {
        const some = pages.subarray(from, Math.min(count, from + most));
        from += this.#placeSome(blockIndex, pageSize, some, (rest) => place(from, rest));
      } finally {
        removed.lock.release();
      }
      if (!this.#mustRetry) continue;
      // The mapping is changing: the fault thread must read the event that says how.
      signals.waitWhile('EVENTS_READ', eventsRead, RETRY_MS);
      if (signals.get('RELEASED') === 1) throw new Kicked();
    }
  }

  /** Under the lock, so only a few; returns how many of them are dealt with. */
  #placeSome(blockIndex: number, pageSize: number, pages: Uint32Array, place: (count: number) => number): number {
    const { OUTCOME_RETRY } = native().constants;
    this.#mustRetry = false;
    const wanted = this.#untilRemoved(blockIndex, pageSize, pages);
    if (wanted === 0) return 1; // the first one was removed: what came for it is dropped
    place(wanted);
    for (let i = 0; i < wanted; i += 1) {
      if (this.#outcomes[i] === OUTCOME_RETRY) {
        this.#mustRetry = true;
        return i;
      }
      this.#settle(blockIndex, pageSize, pages[i], this.#outcomes[i]);
    }
    return wanted;
  }

  /** How many pages from the first one to place at once: none of them was removed. */
  #untilRemoved(blockIndex: number, pageSize: number, pages: Uint32Array): number {
    const { removed } = this.#o;
    if (!removed.any) return pages.length;
    const targetPages = pageCount(pageSize);
    let count = 0;
    while (count < pages.length && !removed.has(blockIndex, pages[count] * targetPages)) count += 1;
    return count;
  }

  /** A page of `pageSize` is there: all its target pages are received, and who asked for it is served. */
  #settle(blockIndex: number, pageSize: number, page: number, outcome: number): void {
    if (outcome === native().constants.OUTCOME_GONE) {
      const { idstr } = this.#o.blocks[blockIndex];
      throw new MigrationError('GUEST_FAILED', `page ${page} of RAM block ${idstr} was unmapped while it was awaited`);
    }
    const targetPages = pageCount(pageSize);
    this.#settleRun(blockIndex, page * targetPages, targetPages);
  }

  /** `count` target pages from `first` on are there. */
  #settleRun(blockIndex: number, first: number, count: number): void {
    const { received, requested } = this.#o;
    received[blockIndex].setRange(first, count);
    const end = first + count;
    const next = (from: number): number => requested.findNext(blockIndex, from, end);
    for (let page = next(first); page < end; page = next(page + 1)) this.#serve(blockIndex, page);
  }

  /** Somebody may have asked for this page, which is there. */
  #serve(blockIndex: number, page: number): void {
    const { requested, latency, counters, blocktime } = this.#o;
    const times = requested.settle(blockIndex, page);
    if (times === undefined) return;
    counters.add('requestsServed', 1);
    const nowUs = native().monotonicUs();
    blocktime?.end(blockIndex, page, nowUs);
    if (times.faultUs === 0) return;
    latency.record(times.faultUs, times.sentUs, this.arrivedUs, nowUs);
    const { arrivedUs } = this;
    this.#o.trace.at(
      'postcopy_page_served',
      blockIndex,
      pageOffset(page),
      arrivedUs - times.faultUs,
      nowUs - arrivedUs,
    );
  }
}
