/**
 * Requested pages over the preempt channel, which they never share with others. Return path thread only: who hears
 * of a request sends what it asks for, and nobody has to be woken first.
 *
 * A host page goes over one connection alone. Whoever clears the dirty bit of its first target page has it (the
 * migration thread does the same in page-search.ts); one that the migration thread has begun comes over the main
 * channel, where nothing goes before the rest of it.
 */
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { pageCount, pageOffset } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import type { EventfdHandle } from '../native.js';
import { FairLock } from '../threads/fair-lock.js';
import type { Trace } from '../trace/trace.js';
import { RAM_SECTION } from '../wire/machine.js';
import { OutgoingStream } from './outgoing-stream.js';
import { createPageBatch } from './page-search.js';
import { RamSave } from './ram-save.js';
import { SourceBitmaps, type SourceBitmapsDescriptor } from './source-bitmaps.js';
import type { SourceCounters } from './source-counters.js';

const BATCH_PAGES = 128;
const urgentCounters = {
  transferred: 'urgentBytes',
  normal: 'urgentNormal',
  duplicate: 'urgentDuplicate',
} as const;

export interface UrgentPagesData {
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly bitmaps: SourceBitmapsDescriptor;
  /** Of a {@link FairLock}: held from when pages are taken until they are sent. */
  readonly urgentLock: SharedArrayBuffer;
}

export class UrgentPages {
  readonly #bitmaps: SourceBitmaps;
  readonly #lock: FairLock;
  readonly #hostPages: readonly number[];
  readonly #counters: SourceCounters;
  readonly #trace: Trace;
  readonly #save: RamSave;
  readonly #batch = createPageBatch(BATCH_PAGES);

  constructor(
    data: UrgentPagesData,
    channel: ChannelDescriptor,
    kick: EventfdHandle,
    counters: SourceCounters,
    trace: Trace,
  ) {
    const { blocks } = data;
    this.#bitmaps = new SourceBitmaps(
      blocks.map(({ size }) => size),
      data.bitmaps,
    );
    this.#lock = new FairLock(data.urgentLock);
    this.#hostPages = blocks.map(({ pageSize }) => pageCount(pageSize));
    this.#counters = counters;
    this.#trace = trace;
    const counted = {
      add: (name: keyof typeof urgentCounters, amount: number) => counters.add(urgentCounters[name], amount),
    };
    const stream = new OutgoingStream(new Channel(channel, kick), counted);
    this.#save = new RamSave(stream, RAM_SECTION, blocks, counted, BATCH_PAGES);
  }

  /** Sends those that are still to be sent of a range of whole host pages. Throws PEER_GONE. */
  send(blockIndex: number, firstPage: number, pages: number): void {
    const hostPages = this.#hostPages[blockIndex];
    this.#lock.acquire();
    try {
      this.#batch.blockIndex = blockIndex;
      this.#batch.count = 0;
      this.#save.forgetLastBlock(); // who reads a recording sees whose each page is
      for (let first = firstPage; first < firstPage + pages; first += hostPages) {
        if (this.#bitmaps.dirty[blockIndex].clear(first)) this.#takeHostPage(first, hostPages);
      }
      this.#flush();
    } finally {
      this.#lock.release();
    }
  }

  #takeHostPage(first: number, hostPages: number): void {
    const dirty = this.#bitmaps.dirty[this.#batch.blockIndex];
    if (hostPages > 1) dirty.clearRange(first, hostPages);
    this.#trace.at('get_queued_page', this.#batch.blockIndex, pageOffset(first), pageOffset(hostPages));
    for (let page = first; page < first + hostPages; page += 1) {
      this.#batch.pages[this.#batch.count] = page;
      this.#batch.count += 1;
      if (this.#batch.count === BATCH_PAGES) this.#flush();
    }
  }

  #flush(): void {
    const { count } = this.#batch;
    if (count === 0) return;
    this.#save.savePages(this.#batch);
    this.#counters.add('urgentPages', count);
    this.#batch.count = 0;
  }
}
