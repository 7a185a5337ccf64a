/**
 * RAM as the migration thread sends it: what is dirty, the log of what the guest writes, and the sections
 * of the stream that carry its pages and discards. Migration thread only.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { concatenate } from '../memory/bytes.js';
import { pageCount } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { startWriteLog, type WriteLog, type WriteLogDescriptor } from '../memory/write-log.js';
import { native } from '../native.js';
import type { Trace } from '../trace/trace.js';
import type { SectionEntry } from '../wire/messages.js';
import { nowMs } from './clock.js';
import { canonicalize, discardCommands, newlyDirty } from './discard-bitmap.js';
import type { LaneDescriptor } from './lane.js';
import type { OutgoingStream } from './outgoing-stream.js';
import { MAX_BATCH_PAGES, type Pacing } from './pacing.js';
import type { PageRequestQueue } from './page-request-queue.js';
import { createPageBatch, PageSearch } from './page-search.js';
import { RamSave } from './ram-save.js';
import { SourceBitmaps, type SourceBitmapsDescriptor } from './source-bitmaps.js';
import { createSourceCounters, demandTotal, type SourceCounters } from './source-counters.js';

/** Milliseconds after which a PART makes way for a look around. */
const PART_MS = 50;

/** Which counter the bytes of pages belong to: where the guest is meanwhile. */
export type RamPhase = 'precopyBytes' | 'downtimeBytes' | 'postcopyBytes';

/** The guest's RAM, as the owner hands it over. */
export interface GuestRam {
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly writeLog: WriteLogDescriptor | undefined;
  readonly bitmaps: SourceBitmapsDescriptor;
  readonly lanes: readonly LaneDescriptor[];
}

export class RamState {
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #writeLog: WriteLogDescriptor | undefined;
  readonly #section: SectionEntry;
  readonly #stream: OutgoingStream;
  readonly #counters: SourceCounters;
  readonly #trace: Trace;
  readonly #bitmaps: SourceBitmaps;
  /** Target pages of one host page, by block. */
  readonly #hostPages: readonly number[];
  readonly #search: PageSearch;
  readonly #save: RamSave;
  readonly #batch = createPageBatch(MAX_BATCH_PAGES);
  /** Target pages still to send at the last count, less those sent since by this thread. */
  #remaining = 0;
  /** Of whoever sends pages that were asked for. */
  readonly #demandCounters: readonly SourceCounters[];
  #lastFound = 0;
  /** How many they had sent at the last count. */
  #urgentBefore = 0;
  #log: WriteLog | undefined;
  /** What {@link sampleWrites} found since the last sync, if it found anything; undefined before it was asked for. */
  #sampled: readonly PageBitmap[] | undefined;
  #hasSampled = false;

  constructor(
    { blocks, writeLog, bitmaps, lanes }: GuestRam,
    section: SectionEntry,
    stream: OutgoingStream,
    queue: PageRequestQueue,
    counters: SourceCounters,
    trace: Trace,
  ) {
    this.#blocks = blocks;
    this.#writeLog = writeLog;
    this.#section = section;
    this.#stream = stream;
    this.#counters = counters;
    this.#demandCounters = [counters, ...lanes.map((lane) => createSourceCounters(lane.counters))];
    this.#trace = trace;
    const sizes = blocks.map(({ size }) => size);
    this.#bitmaps = new SourceBitmaps(sizes, bitmaps);
    this.#hostPages = blocks.map(({ pageSize }) => pageCount(pageSize));
    this.#search = new PageSearch(this.#dirty, queue, this.#hostPages, trace);
    this.#save = new RamSave(stream, section, blocks, counters, MAX_BATCH_PAGES);
  }

  /** Begins to log what the guest writes. Throws what {@link startWriteLog} does. */
  startLog(): void {
    this.#trace.at('memory_global_dirty_log_start');
    this.#log = startWriteLog(this.#blocks, this.#writeLog);
  }

  stopLog(): void {
    this.#log?.stop();
    this.#log = undefined;
  }

  /** Whether what the guest writes is found. */
  get isLogged(): boolean {
    return this.#log !== undefined;
  }

  /** Target pages still to send, as far as known. */
  get remainingPages(): number {
    return this.#remaining - (this.#urgentPages - this.#urgentBefore);
  }

  get #urgentPages(): number {
    return demandTotal('urgentPages', this.#demandCounters);
  }

  get #dirty(): readonly PageBitmap[] {
    return this.#bitmaps.dirty;
  }

  /** S6: the section's START. All pages are dirty. `announcePageSizes`: as a destination of a postcopy expects it. */
  setUp(announcePageSizes: boolean): void {
    for (const bitmap of this.#dirty) bitmap.setAll();
    this.#recount();
    if (this.isLogged) this.#counters.add('dirtySyncCount', 1);
    this.#inSection(() => this.#save.sendBlockList(announcePageSizes ? native().constants.HOST_PAGE_SIZE : undefined));
  }

  /**
   * Whether {@link sampleWrites} tells what was written. Where a discard is no write, the log has what is absent among
   * it, each time.
   */
  get canSampleWrites(): boolean {
    return this.isLogged && this.#writeLog === undefined && this.#blocks.every(({ kind }) => kind === 'anonymous');
  }

  /**
   * Reads the log in the middle of a pass. Returns how many pages were written since it was read last. They become
   * dirty at the next {@link sync}, as if it had not been read.
   */
  sampleWrites(): number {
    this.#sampled ??= this.createDiscarded();
    const pages = this.#log?.sync(this.#sampled) ?? 0;
    if (pages > 0) this.#hasSampled = true;
    return pages;
  }

  /** How many pages the last sync found in the log. */
  get lastFound(): number {
    return this.#lastFound;
  }

  /** Brings the dirty bitmaps up to date with what the guest wrote. Returns how many pages became dirty. */
  sync(): number {
    if (this.#log === undefined) return 0;
    const before = this.remainingPages;
    this.#trace.at('migration_bitmap_sync_start');
    this.#lastFound = this.#log.sync(this.#dirty);
    this.#moveSampled();
    this.#recount();
    this.#counters.add('dirtySyncCount', 1);
    const newlyDirtyPages = this.remainingPages - before;
    this.#trace.at('migration_bitmap_sync_end', newlyDirtyPages);
    return newlyDirtyPages;
  }

  #moveSampled(): void {
    if (!this.#hasSampled) return;
    for (const [index, sampled] of this.#sampled?.entries() ?? []) sampled.moveTo(this.#dirty[index]);
    this.#hasSampled = false;
  }

  /** One per block, clear: such as what {@link sendDiscards} has discarded. */
  createDiscarded(): readonly PageBitmap[] {
    return this.#dirty.map(({ pageCount }) => new PageBitmap(pageCount));
  }

  /** Discards what is dirty and not in `discarded` yet, and adds it there. Returns how many pages that were. */
  sendDiscards(discarded: readonly PageBitmap[]): number {
    let pages = 0;
    for (const [index, { idstr }] of this.#blocks.entries()) {
      canonicalize(this.#dirty[index], this.#hostPages[index]);
      const fresh = newlyDirty(this.#dirty[index], discarded[index]);
      const count = fresh.count();
      if (count === 0) continue;
      this.#trace.at('savevm_send_postcopy_ram_discard', index, count);
      this.#stream.send(concatenate([...discardCommands(idstr, fresh)]));
      pages += count;
    }
    this.#recount();
    return pages;
  }

  /** The guest runs at the destination from here on, which places whole host pages, and waits for some. */
  enterPostcopy(): void {
    this.#bitmaps.markUnconfirmed();
    this.#search.sendWholeHostPages();
    this.#save.isStill = true;
    this.#save.forgetLastBlock();
  }

  /** Another connection: what the destination does not say that it has is dirty, in whole host pages. */
  resume(): void {
    this.#bitmaps.takeReceived();
    for (const [index, dirty] of this.#dirty.entries()) canonicalize(dirty, this.#hostPages[index]);
    this.#bitmaps.markUnconfirmed();
    this.#recount();
    this.#search.restart();
    this.#save.forgetLastBlock();
  }

  /** A PART of pages, until clock or pacing say that it is enough; whole host pages, as QEMU sends them. */
  iterate(phase: RamPhase, pacing: Pacing): void {
    const endMs = nowMs() + PART_MS;
    this.#pages('PART', phase, pacing, () => this.#search.isUnderWay || (pacing.maySend() && nowMs() < endMs));
  }

  /** The END of the section, with all pages that are left. */
  complete(phase: RamPhase, pacing: Pacing): void {
    this.#pages('END', phase, pacing, () => true);
  }

  #pages(kind: 'PART' | 'END', phase: RamPhase, pacing: Pacing, goesOn: () => boolean): void {
    const before = this.#stream.offset;
    this.#save.asRuns = pacing.sendsRuns;
    this.#inSection(() => {
      this.#save.beginSection(kind);
      while (goesOn() && this.#search.next(this.#batch, pacing.batchPages)) {
        const batchStart = this.#stream.offset;
        const { queueBytes } = pacing;
        if (queueBytes !== undefined) this.#stream.limitQueue(queueBytes);
        this.#save.savePages(this.#batch);
        this.#remaining -= this.#batch.count;
        // What somebody waits for is never held back, so it does not count.
        if (!this.#batch.urgent) pacing.count(this.#stream.offset - batchStart, this.#batch.count);
      }
      this.#save.endSection();
    });
    this.#counters.add(phase, this.#stream.offset - before);
    this.#counters.set('remainingPages', this.remainingPages);
  }

  #inSection(send: () => void): void {
    this.#trace.at('savevm_section_start', this.#section.id);
    send();
    this.#trace.at('savevm_section_end', this.#section.id);
  }

  #recount(): void {
    this.#urgentBefore = this.#urgentPages;
    this.#remaining = this.#dirty.reduce((sum, bitmap) => sum + bitmap.count(), 0);
    this.#counters.set('remainingPages', this.#remaining);
  }
}
