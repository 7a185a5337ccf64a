/**
 * Loading RAM in precopy: pages go straight to memory, as nobody runs in it yet (D5). A zero page is
 * made present too: it counts as received, so it must never fault. Main thread only.
 */

import { asMigrationError, MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import { pageIndexOf, pageOffset, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native } from '../native.js';
import type { PageRecord } from '../wire/messages.js';
import { applyXbzrle } from '../wire/xbzrle.js';
import type { DestinationCounters } from './destination-counters.js';
import type { PageInstaller } from './page-collector.js';
import type { PopulateAhead } from './populate-ahead.js';

export class RamLoad implements PageInstaller {
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #received: readonly PageBitmap[];
  readonly #arena: Uint8Array;
  readonly #counters: DestinationCounters;
  readonly #ahead: PopulateAhead | undefined;
  /** A page that is being changed. */
  readonly #page = new Uint8Array(TARGET_PAGE_SIZE);

  /** `ahead`: absent where pages that have not come must be missing. */
  constructor(
    blocks: readonly RAMBlockDescriptor[],
    received: readonly PageBitmap[],
    arena: Uint8Array,
    counters: DestinationCounters,
    ahead?: PopulateAhead,
  ) {
    this.#blocks = blocks;
    this.#received = received;
    this.#arena = arena;
    this.#counters = counters;
    this.#ahead = ahead;
  }

  pages(blockIndex: number, pages: Uint32Array, count: number, offsets: Uint32Array): void {
    native().loadPages(this.#blocks[blockIndex].handle, TARGET_PAGE_SIZE, pages, count, this.#arena, offsets);
    this.#markReceived(blockIndex, pages, count);
    this.#ahead?.came(blockIndex, pageOffset(pages[count - 1]), pageOffset(count), true);
    this.#counters.add('normal', count);
  }

  fills(blockIndex: number, pages: Uint32Array, count: number, fills: Uint8Array): void {
    native().fillPages(this.#blocks[blockIndex].handle, TARGET_PAGE_SIZE, pages, count, fills);
    this.#markReceived(blockIndex, pages, count);
    this.#ahead?.came(blockIndex, pageOffset(pages[count - 1]), pageOffset(count), false);
    this.#counters.add('duplicate', count);
  }

  /**
   * A page that is here, changed. Throws STREAM_CORRUPT, the page as it was, where it is not here or the delta
   * is none: a QEMU destination would take zeroes for a page that never came.
   */
  xbzrle({ block, offset, dataStart, dataLength }: PageRecord, recordOffset: number): void {
    const { handle, idstr } = this.#blocks[block.index];
    const index = pageIndexOf(offset);
    if (!this.#received[block.index].test(index)) {
      throw new MigrationError(
        'STREAM_CORRUPT',
        `the page at offset ${recordOffset} says in xbzrle form what has changed in page ${index} of RAM block ` +
          `${idstr}, which has not come`,
        { offset: recordOffset, record: 'page' },
      );
    }
    native().ramBlockRead(handle, offset, this.#page);
    const end = dataStart + dataLength;
    asMigrationError(() => applyXbzrle(this.#page, this.#arena, dataStart, end, recordOffset));
    native().ramBlockWrite(handle, offset, this.#page);
    this.#counters.add('normal', 1);
  }

  #markReceived(blockIndex: number, pages: Uint32Array, count: number): void {
    const received = this.#received[blockIndex];
    for (let i = 0; i < count; i += 1) received.set(pages[i]);
  }
}
