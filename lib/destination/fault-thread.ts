/**
 * Fault thread of the destination: reads the guest's page faults from userfaultfd and asks the source
 * for the pages. Parked from the start of the migration until the memory is prepared for postcopy, so
 * that nobody waits for a thread to be made; then serves until it is kicked, also while there is no connection.
 *
 * It never touches guest memory, and never waits to install a page: who reads the events must not wait for
 * what only reading them can release. The only pages it installs are zeroes where there is nothing to come:
 * where the guest has let go of its memory, and where a page was received that is not there any more.
 */
import type { MessagePort } from 'node:worker_threads';
import type { ChannelDescriptor } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { alignDown, pageCount, pageIndexOf, pageOffset } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { RAMList, type RAMRange } from '../memory/ram-list.js';
import { native, type UserfaultfdHandle } from '../native.js';
import type { PrefetchPolicy } from '../options.js';
import { Kicked } from '../threads/kicked.js';
import { failureOf, runThread, type ThreadContext } from '../threads/thread.js';
import { Blocktime } from './blocktime.js';
import type { DemandThreadHandles } from './demand-control.js';
import { DemandLinks } from './demand-links.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import { createDestinationSignals, type DestinationSignals, FaultThreadPhase, Handed } from './destination-signals.js';
import { rehearse } from './fault-rehearsal.js';
import type { DestinationEvent } from './main-thread.js';
import { PageRequested, type PageRequestedDescriptor } from './page-requested.js';
import { PageRequester } from './page-requester.js';
import { awaitWork } from './parked-work.js';
import { RemovedPages, type RemovedPagesDescriptor } from './removed-pages.js';
import { SourceLink } from './source-link.js';

export interface FaultThreadData {
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** Of {@link Blocktime}, with the capability. */
  readonly blocktime: SharedArrayBuffer | undefined;
  readonly prefetch: PrefetchPolicy;
  /** The demand threads that may have lanes. */
  readonly lanes: readonly DemandThreadHandles[];
  /** Whether it may come to serve. */
  readonly mayServe: boolean;
  /** From the main thread: one {@link FaultThreadWork}. */
  readonly work: MessagePort;
}

/** What the main thread hands over. */
export interface FaultThreadWork {
  readonly channel: ChannelDescriptor;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly received: readonly SharedArrayBuffer[];
  readonly requested: PageRequestedDescriptor;
  readonly removed: RemovedPagesDescriptor;
  /** Of `WatchedPages`. */
  readonly faulted: readonly SharedArrayBuffer[];
}

/** Events of one read. */
const EVENTS_MAX = 64;
/** Milliseconds until zeroes are tried again: nothing tells when a mapping has stopped changing. */
const RETRY_MS = 1;

interface PagePosition {
  readonly blockIndex: number;
  /** The first target page of the host page. */
  readonly page: number;
}

class FaultThread {
  readonly #thread: Pick<ThreadContext<never, Record<string, never>>, 'kick' | 'trace'>;
  readonly #signals: DestinationSignals;
  readonly #counters: DestinationCounters;
  readonly #uffd: UserfaultfdHandle;
  readonly #ram: RAMList;
  readonly #received: readonly PageBitmap[];
  readonly #requested: PageRequested;
  readonly #removed: RemovedPages;
  readonly #faulted: readonly PageBitmap[];
  readonly #blocktime: Blocktime | undefined;
  readonly #requester: PageRequester;
  readonly #events = new Float64Array(EVENTS_MAX * native().constants.EVENT_WORDS);
  /** Pages to be made zeroes, as somebody waits for them. */
  #zeroes: PagePosition[] = [];
  readonly #outcome = new Uint8Array(1);
  readonly #one = new Uint32Array(1);

  constructor(
    data: FaultThreadData,
    work: FaultThreadWork,
    thread: Pick<ThreadContext<never, Record<string, never>>, 'kick' | 'trace'>,
  ) {
    this.#thread = thread;
    this.#signals = createDestinationSignals(data.signals);
    this.#counters = createDestinationCounters(data.counters);
    this.#uffd = this.#signals.get('USERFAULTFD') as UserfaultfdHandle;
    this.#ram = new RAMList(work.blocks);
    const sizes = work.blocks.map(({ size }) => size);
    this.#received = sizes.map((size, index) => new PageBitmap(pageCount(size), work.received[index]));
    this.#faulted = sizes.map((size, index) => new PageBitmap(pageCount(size), work.faulted[index]));
    this.#requested = new PageRequested(sizes, work.requested);
    this.#removed = new RemovedPages(sizes, work.removed);
    this.#blocktime = data.blocktime === undefined ? undefined : new Blocktime(data.blocktime);
    const link = new SourceLink(this.#signals, work.channel.peer, thread.kick);
    const links = new DemandLinks(link, data.lanes, thread.kick);
    this.#requester = new PageRequester(this.#signals, links, work.blocks, this.#received, data.prefetch);
  }

  /** Until it is kicked. */
  serve(): never {
    for (;;) this.turn(-1);
  }

  /** Waits for events, at most so many milliseconds (-1: for as long as it takes), and sees to them. Throws Kicked. */
  turn(patienceMs: number): void {
    const { constants: c, awaitEvents, monotonicUs } = native();
    const ready = awaitEvents(this.#uffd, this.#thread.kick, this.#zeroes.length > 0 ? RETRY_MS : patienceMs);
    if (ready === c.KICKED) throw new Kicked();
    const count = ready > 0 ? this.#read() : 0;
    for (let at = 0; at < count * c.EVENT_WORDS; at += c.EVENT_WORDS) {
      if (this.#events[at + c.EVENT_KIND] === c.UFFD_EVENT_PAGEFAULT) this.#fault(at);
    }
    // Where there is no connection the listen thread asks for what is missing once there is one again.
    if (this.#requester.flush()) this.#requested.sent(monotonicUs());
    if (this.#zeroes.length > 0) this.#zeroes = this.#zeroes.filter((position) => !this.#placeZeroes(position));
  }

  /** Reads events and marks what they take away, before any fault of the same read is looked at. */
  #read(): number {
    const { constants: c, readEvents } = native();
    const { lock } = this.#removed;
    let count: number;
    lock.acquire();
    try {
      count = readEvents(this.#uffd, this.#thread.kick, this.#events, 0);
      for (let at = 0; at < count * c.EVENT_WORDS; at += c.EVENT_WORDS) {
        if (this.#events[at + c.EVENT_KIND] !== c.UFFD_EVENT_PAGEFAULT) this.#mappingChanged(at);
        else if (this.#blocktime !== undefined) this.#beginBlocktime(this.#blocktime, at);
      }
    } finally {
      lock.release();
    }
    this.#signals.bump('EVENTS_READ');
    if (count === c.KICKED) throw new Kicked();
    return count;
  }

  // --- faults ------------------------------------------------------------------------------------

  /** Asks for the page, unless it is here or asked for. */
  #fault(at: number): void {
    const { constants: c, monotonicUs } = native();
    const address = this.#events[at + c.EVENT_ADDRESS];
    this.#counters.add('faults', 1);
    const position = this.#ram.fromHost(address);
    if (position === undefined) {
      throw new MigrationError('GUEST_FAILED', `a page fault at ${address.toString(16)}, outside all RAM blocks`);
    }
    const { block, index } = position;
    const offset = alignDown(position.offset, block.pageSize);
    const page = pageIndexOf(offset);
    this.#thread.trace.at('postcopy_ram_fault_thread_request', index, offset, this.#events[at + c.EVENT_THREAD]);
    if (!this.#received[index].test(page)) {
      if (this.#requested.add(index, page, monotonicUs())) {
        this.#counters.add('postcopyRequests', 1);
        this.#counters.add('prefetched', this.#requester.fault(index, page));
        this.#faulted[index].setRange(page, pageCount(block.pageSize));
      }
      if (!this.#received[index].test(page)) return;
    }
    this.#thread.trace.at('postcopy_request_shared_page_present', index, offset);
    // It came while the fault was on its way here, and whoever waited then was woken. Or it is gone again, and
    // waking alone would only bring the next fault. Zeroes go in where there is no page, and wake in any case.
    this.#requested.settle(index, page);
    this.#zeroes.push({ blockIndex: index, page });
  }

  /** Under the lock. */
  #beginBlocktime(blocktime: Blocktime, at: number): void {
    const { constants: c, monotonicUs } = native();
    const position = this.#ram.fromHost(this.#events[at + c.EVENT_ADDRESS]);
    if (position === undefined) return; // which is an error, a moment later
    const page = pageIndexOf(alignDown(position.offset, position.block.pageSize));
    blocktime.begin(this.#events[at + c.EVENT_THREAD], position.index, page, monotonicUs());
  }

  #endBlocktime(blockIndex: number, page: number): void {
    if (this.#blocktime === undefined) return;
    this.#removed.lock.acquire();
    try {
      this.#blocktime.end(blockIndex, page, native().monotonicUs());
    } finally {
      this.#removed.lock.release();
    }
  }

  // --- what the guest does to its memory ---------------------------------------------------------

  /** Under the lock. */
  #mappingChanged(at: number): void {
    const { constants: c } = native();
    const address = this.#events[at + c.EVENT_ADDRESS];
    const length = this.#events[at + c.EVENT_LENGTH];
    const moved = this.#events[at + c.EVENT_KIND] === c.UFFD_EVENT_REMAP;
    for (const range of this.#ram.intersections(address, length)) {
      if (moved) {
        throw new MigrationError(
          'GUEST_FAILED',
          `the guest moved ${range.length} bytes at offset ${range.offset} of RAM block ${range.block.idstr} (mremap)` +
            ' while pages were missing: what is still to come has no place any more',
          { hint: 'do not move the memory of a guest that is being received' },
        );
      }
      this.#remove(range);
    }
  }

  /** Nothing is to come any more for these pages; whoever waits for one gets zeroes. */
  #remove({ index, offset, length }: RAMRange<RAMBlockDescriptor>): void {
    const first = pageIndexOf(offset);
    const end = first + pageCount(length);
    this.#thread.trace.at('postcopy_ram_removed', index, offset, length);
    this.#removed.mark(index, first, end - first);
    this.#received[index].setRange(first, end - first);
    const requested = this.#requested;
    for (let page = requested.findNext(index, first); page < end; page = requested.findNext(index, page + 1)) {
      if (requested.settle(index, page) === undefined) continue; // the listen thread was faster
      this.#zeroes.push({ blockIndex: index, page });
    }
  }

  /** False if it has to be tried again, as the mapping is changing. */
  #placeZeroes({ blockIndex, page }: PagePosition): boolean {
    const { constants: c, placeZeroPages, userfaultfdWake } = native();
    const { handle, pageSize } = this.#ram.blocks[blockIndex];
    this.#one[0] = page / pageCount(pageSize);
    placeZeroPages(this.#uffd, handle, pageSize, this.#one, 1, this.#outcome);
    if (this.#outcome[0] === c.OUTCOME_RETRY) return false;
    // Unmapped: whoever waits there goes on into what the guest has made of it.
    if (this.#outcome[0] === c.OUTCOME_GONE) userfaultfdWake(this.#uffd, handle, pageOffset(page), pageSize);
    this.#endBlocktime(blockIndex, page);
    return true;
  }
}

runThread<FaultThreadData, void, DestinationEvent>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  try {
    if (data.mayServe) {
      const hasWork = () => signals.get('PREPARED') !== Handed.NOT_YET;
      const failure = failureOf(() => rehearse(hasWork, (...rehearsed) => new FaultThread(...rehearsed)));
      thread.emit({ kind: 'rehearsed', failure });
    }
    const work = awaitWork<FaultThreadWork>(signals, 'PREPARED', data.work);
    if (work === undefined) return;
    const faults = new FaultThread(data, work, thread);
    thread.trace.at('postcopy_ram_fault_thread_entry');
    signals.set('FAULT_THREAD', FaultThreadPhase.SERVING);
    faults.serve();
  } catch (error) {
    if (error instanceof Kicked) thread.trace.at('postcopy_ram_fault_thread_quit');
    throw error;
  } finally {
    signals.set('FAULT_THREAD', FaultThreadPhase.ENDED);
  }
});
