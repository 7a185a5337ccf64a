/**
 * Pages as they come over one connection in postcopy: each once, put together where host pages are larger, and placed.
 * Each thread that reads pages has one of its own, over what all of them share.
 */
import { MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { HUGE_PAGE_SIZE, pageCount, pageIndexOf } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native, type UserfaultfdHandle } from '../native.js';
import type { Trace } from '../trace/trace.js';
import type { PageRecord, PageRunRecord } from '../wire/messages.js';
import { Blocktime } from './blocktime.js';
import { createDestinationCounters } from './destination-counters.js';
import { createDestinationSignals } from './destination-signals.js';
import { FaultLatency } from './fault-latency.js';
import { HostPageAssembly } from './host-page.js';
import type { HugePage } from './huge-page.js';
import { PageCollector } from './page-collector.js';
import { PageRequested, type PageRequestedDescriptor } from './page-requested.js';
import { PlacePage } from './place-page.js';
import { RemovedPages, type RemovedPagesDescriptor } from './removed-pages.js';
import type { StreamReader } from './stream-reader.js';

/** What a thread has from its start. */
export interface IntakeAccounts {
  readonly signals: SharedArrayBuffer;
  /** This thread's own. */
  readonly counters: SharedArrayBuffer;
  /** Of {@link FaultLatency}. */
  readonly latency: SharedArrayBuffer;
  /** Of {@link Blocktime}, with the capability. */
  readonly blocktime: SharedArrayBuffer | undefined;
}

/** What there is from LISTEN on; of all threads that read pages. */
export interface IntakeMemory {
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly received: readonly SharedArrayBuffer[];
  /** What had been received at LISTEN, and what was sent since. */
  readonly arrived: readonly SharedArrayBuffer[];
  readonly requested: PageRequestedDescriptor;
  readonly removed: RemovedPagesDescriptor;
}

/** Where the bytes of a run come from. */
export type RunReader = Pick<StreamReader, 'recordOffset' | 'takeRun' | 'takeRunBytes'>;

export class PageIntake {
  readonly #blocks: readonly RAMBlockDescriptor[];
  /** Pages that the source has sent: it must not send one twice, as the guest may have written it since. */
  readonly #arrived: readonly PageBitmap[];
  readonly #arena: Uint8Array;
  readonly #place: PlacePage;
  #collector: PageCollector;
  #hostPages: HostPageAssembly;
  readonly #hugePage: HugePage | undefined;
  readonly received: readonly PageBitmap[];
  readonly requested: PageRequested;

  /** `arena` is where the content of pages lies. `hugePage`: for huge pages that are moved in, where they may come. */
  constructor(accounts: IntakeAccounts, memory: IntakeMemory, arena: Uint8Array, trace: Trace, hugePage?: HugePage) {
    const { blocks } = memory;
    const sizes = blocks.map(({ size }) => size);
    const bitmaps = (buffers: readonly SharedArrayBuffer[]) =>
      sizes.map((size, index) => new PageBitmap(pageCount(size), buffers[index]));
    const signals = createDestinationSignals(accounts.signals);
    this.#blocks = blocks;
    this.#arena = arena;
    this.#hugePage = hugePage;
    this.#arrived = bitmaps(memory.arrived);
    this.received = bitmaps(memory.received);
    this.requested = new PageRequested(sizes, memory.requested);
    this.#place = new PlacePage({
      uffd: signals.get('USERFAULTFD') as UserfaultfdHandle,
      blocks,
      received: this.received,
      requested: this.requested,
      removed: new RemovedPages(sizes, memory.removed),
      arena,
      counters: createDestinationCounters(accounts.counters),
      signals,
      latency: new FaultLatency(accounts.latency),
      blocktime: accounts.blocktime === undefined ? undefined : new Blocktime(accounts.blocktime),
      trace,
    });
    this.#collector = new PageCollector(this.#place);
    this.#hostPages = this.#newHostPages();
  }

  /** Bytes have come in: the pages in them are counted from now. */
  bytesArrived(): void {
    this.#place.arrivedUs = native().monotonicUs();
  }

  /** Throws STREAM_CORRUPT for a page that has come before, over whichever connection, or that is out of order. */
  add(record: PageRecord, recordOffset: number): void {
    const { index, idstr } = record.block;
    const page = pageIndexOf(record.offset);
    if (!this.#arrived[index].set(page)) throw this.#again(idstr, page, recordOffset);
    if (this.#hostPages.takes(index)) this.#hostPages.add(record, this.#arena, recordOffset);
    else {
      this.#collector.add(record, recordOffset);
      // Somebody waits for it, and not for those that come with it.
      if (this.requested.has(index, page)) this.flush();
    }
  }

  /**
   * A run of pages whose begin is `record`, as a whole where that is quicker: huge pages that are moved into place, and
   * zeroes. False where its pages are to be read one by one. Throws as {@link add} does.
   */
  addRun(record: PageRunRecord, reader: RunReader): boolean {
    const { index, idstr } = record.block;
    const { kind, offset } = record;
    const isWhole =
      kind === 'zero' ? !this.#hostPages.takes(index) : this.#hugePage?.canTake(this.#blocks[index], record);
    if (!isWhole) return false;
    this.flush();
    const arrived = this.#arrived[index];
    const first = pageIndexOf(offset);
    const end = first + record.pages;
    const again = arrived.findNext(first, end);
    if (again < end) throw this.#again(idstr, again, reader.recordOffset);
    arrived.setRange(first, record.pages);
    reader.takeRun();
    if (kind === 'zero') this.#place.zeroRun(index, first, record.pages);
    else this.#takeHugePage(index, first, reader);
    return true;
  }

  #takeHugePage(index: number, first: number, reader: RunReader): void {
    const hugePage = this.#hugePage as HugePage;
    reader.takeRunBytes(hugePage.bytes, HUGE_PAGE_SIZE);
    this.bytesArrived();
    this.#place.hugePage(index, first, hugePage);
  }

  #again(idstr: string, page: number, offset: number): MigrationError {
    const text = `page ${page} of RAM block ${idstr} comes a second time at offset ${offset}, after LISTEN`;
    return new MigrationError('STREAM_CORRUPT', text, { offset, record: 'page' });
  }

  /** Places what is gathered, before the arena is filled anew. */
  flush(): void {
    this.#collector.flush();
  }

  /** Forgets what came and was not placed. */
  dropUnfinished(): void {
    this.#collector = new PageCollector(this.#place);
    this.#hostPages = this.#newHostPages();
  }

  /** Of all connections: what is not here is to come again. No other thread may take pages in meanwhile. */
  expectMissing(): void {
    for (const [index, arrived] of this.#arrived.entries()) arrived.words.set(this.received[index].words);
  }

  #newHostPages(): HostPageAssembly {
    return new HostPageAssembly(
      this.#blocks.map(({ pageSize }) => pageSize),
      this.#place,
    );
  }
}
