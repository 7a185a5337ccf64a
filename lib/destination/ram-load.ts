/**
 * Loading RAM in precopy: pages go straight to memory, as nobody runs in it yet (D5). A zero page is
 * made present too: it counts as received, so it must never fault. Main thread only.
 */

import type { PageBitmap } from '../memory/bitmap.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native } from '../native.js';
import type { DestinationCounters } from './destination-counters.js';
import type { PageInstaller } from './page-collector.js';

export class RamLoad implements PageInstaller {
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #received: readonly PageBitmap[];
  readonly #arena: Uint8Array;
  readonly #counters: DestinationCounters;

  constructor(
    blocks: readonly RAMBlockDescriptor[],
    received: readonly PageBitmap[],
    arena: Uint8Array,
    counters: DestinationCounters,
  ) {
    this.#blocks = blocks;
    this.#received = received;
    this.#arena = arena;
    this.#counters = counters;
  }

  pages(blockIndex: number, pages: Uint32Array, count: number, offsets: Uint32Array): void {
    native().loadPages(this.#blocks[blockIndex].handle, TARGET_PAGE_SIZE, pages, count, this.#arena, offsets);
    this.#markReceived(blockIndex, pages, count);
    this.#counters.add('normal', count);
  }

  fills(blockIndex: number, pages: Uint32Array, count: number, fills: Uint8Array): void {
    native().fillPages(this.#blocks[blockIndex].handle, TARGET_PAGE_SIZE, pages, count, fills);
    this.#markReceived(blockIndex, pages, count);
    this.#counters.add('duplicate', count);
  }

  #markReceived(blockIndex: number, pages: Uint32Array, count: number): void {
    const received = this.#received[blockIndex];
    for (let i = 0; i < count; i += 1) received.set(pages[i]);
  }
}
