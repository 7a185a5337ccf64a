/**
 * Placing pages in postcopy, while the guest runs and waits for them: each goes in whole by
 * UFFDIO_COPY or UFFDIO_ZEROPAGE, which wakes who waits, then counts as received. Listen thread only.
 *
 * 1. Received is set only after the page is there.
 * 2. A page that is there already is left as it is: the guest may have written it since.
 */

import { MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native, type UserfaultfdHandle } from '../native.js';
import type { DestinationCounters } from './destination-counters.js';
import type { DestinationSignals } from './destination-signals.js';
import type { FaultLatency } from './fault-latency.js';
import type { PageInstaller } from './page-collector.js';
import type { PageRequested } from './page-requested.js';

/** Milliseconds to wait for the fault thread to read events, before another try. */
const RETRY_MS = 10;

export interface PlacePageOptions {
  readonly uffd: UserfaultfdHandle;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly received: readonly PageBitmap[];
  readonly requested: PageRequested;
  readonly arena: Uint8Array;
  readonly counters: DestinationCounters;
  readonly signals: DestinationSignals;
  readonly latency: FaultLatency;
}

export class PlacePage implements PageInstaller {
  readonly #o: PlacePageOptions;
  #outcomes = new Uint8Array(256);
  /** One page for fills other than zero. */
  readonly #filled = new Uint8Array(TARGET_PAGE_SIZE);

  constructor(options: PlacePageOptions) {
    this.#o = options;
  }

  pages(blockIndex: number, pages: Uint32Array, count: number, offsets: Uint32Array): void {
    const { uffd, blocks, arena, counters } = this.#o;
    const { handle } = blocks[blockIndex];
    this.#place(blockIndex, pages, count, (from, rest) =>
      native().placePages(
        uffd,
        handle,
        TARGET_PAGE_SIZE,
        pages.subarray(from),
        rest,
        arena,
        offsets.subarray(from),
        0,
        this.#outcomes,
      ),
    );
    counters.add('normal', count);
  }

  fills(blockIndex: number, pages: Uint32Array, count: number, fills: Uint8Array): void {
    const { uffd, blocks, counters } = this.#o;
    const { handle } = blocks[blockIndex];
    if (fills.subarray(0, count).every((fill) => fill === 0)) {
      this.#place(blockIndex, pages, count, (from, rest) =>
        native().placeZeroPages(uffd, handle, TARGET_PAGE_SIZE, pages.subarray(from), rest, this.#outcomes),
      );
    } else {
      for (let i = 0; i < count; i += 1) this.#placeFilled(blockIndex, pages.subarray(i, i + 1), fills[i]);
    }
    counters.add('duplicate', count);
  }

  #placeFilled(blockIndex: number, page: Uint32Array, fill: number): void {
    const { uffd, blocks } = this.#o;
    this.#filled.fill(fill);
    this.#place(blockIndex, page, 1, () =>
      native().placePages(
        uffd,
        blocks[blockIndex].handle,
        TARGET_PAGE_SIZE,
        page,
        1,
        this.#filled,
        new Uint32Array(1),
        0,
        this.#outcomes,
      ),
    );
  }

  /** Has `place` install pages[from …] until each one has an outcome that is final. */
  #place(blockIndex: number, pages: Uint32Array, count: number, place: (from: number, rest: number) => number): void {
    const { OUTCOME_RETRY } = native().constants;
    let from = 0;
    while (from < count) {
      const eventsRead = this.#o.signals.get('EVENTS_READ');
      place(from, count - from);
      let settled = 0;
      while (from + settled < count && this.#outcomes[settled] !== OUTCOME_RETRY) {
        this.#settle(blockIndex, pages[from + settled], this.#outcomes[settled]);
        settled += 1;
      }
      from += settled;
      // The mapping is changing: the fault thread must read the event that says how.
      if (from < count) this.#o.signals.waitWhile('EVENTS_READ', eventsRead, RETRY_MS);
    }
  }

  #settle(blockIndex: number, page: number, outcome: number): void {
    const { received, requested, latency, counters } = this.#o;
    if (outcome === native().constants.OUTCOME_GONE) {
      const { idstr } = this.#o.blocks[blockIndex];
      throw new MigrationError('GUEST_FAILED', `page ${page} of RAM block ${idstr} was unmapped while it was awaited`);
    }
    received[blockIndex].set(page);
    const since = requested.settle(blockIndex, page);
    if (since < 0) return;
    counters.add('requestsServed', 1);
    if (since > 0) latency.record(native().monotonicUs() - since);
  }
}
