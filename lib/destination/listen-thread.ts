/**
 * Listen thread of the destination: parked until LISTEN, then reads the stream while the guest runs,
 * places the pages, and ends the migration when the stream ends (D9, D10).
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError, toPlainError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount, pageIndexOf } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { type EventfdHandle, native, type UserfaultfdHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread, type ThreadContext } from '../threads/thread.js';
import { encodePong } from '../wire/encode.js';
import type { PageRecord, StreamRecord } from '../wire/messages.js';
import { Blocktime } from './blocktime.js';
import { countLatency, createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import { createDestinationSignals, type DestinationSignals, FaultThreadPhase, Package } from './destination-signals.js';
import { sayCompleted, sayFailed } from './farewell.js';
import { FaultLatency, latencyStages } from './fault-latency.js';
import { HostPageAssembly } from './host-page.js';
import type { DestinationEvent } from './main-thread.js';
import { requireAllPages } from './missing-pages.js';
import { PageCollector } from './page-collector.js';
import { PageRequested, type PageRequestedDescriptor } from './page-requested.js';
import { awaitWork } from './parked-work.js';
import { PlacePage } from './place-page.js';
import { postcopyStates } from './postcopy-state.js';
import { type MemoryBefore, restoreMemory } from './prepare-memory.js';
import { RemovedPages, type RemovedPagesDescriptor } from './removed-pages.js';
import { type StreamPosition, StreamReader } from './stream-reader.js';

export interface ListenThreadData {
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  readonly faultKick: EventfdHandle;
  /** Of {@link Blocktime}, with the capability. */
  readonly blocktime: SharedArrayBuffer | undefined;
  /** From the main thread: one {@link ListenThreadWork}. */
  readonly work: MessagePort;
}

/** What the main thread hands over at LISTEN. */
export interface ListenThreadWork {
  readonly channel: ChannelDescriptor;
  readonly arena: SharedArrayBuffer;
  readonly position: StreamPosition;
  readonly before: MemoryBefore;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly received: readonly SharedArrayBuffer[];
  /** What had been received at LISTEN: this thread's own. */
  readonly arrived: readonly SharedArrayBuffer[];
  readonly requested: PageRequestedDescriptor;
  readonly removed: RemovedPagesDescriptor;
}

export interface ListenThreadResult {
  /** False where the migration never came to postcopy. */
  readonly listened: boolean;
}

/** Microseconds between two summaries of latency, which take long. */
const SUMMARY_US = 100_000;

type Context = ThreadContext<DestinationEvent, Record<string, never>>;

class ListenThread {
  readonly #thread: Context;
  readonly #signals: DestinationSignals;
  readonly #counters: DestinationCounters;
  readonly #faultKick: EventfdHandle;
  readonly #uffd: UserfaultfdHandle;
  readonly #channel: Channel;
  readonly #reader: StreamReader;
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #received: readonly PageBitmap[];
  /** Pages that the source has sent: it must not send one twice, as the guest may have written it since. */
  readonly #arrived: readonly PageBitmap[];
  readonly #before: MemoryBefore;
  readonly #collector: PageCollector;
  readonly #hostPages: HostPageAssembly;
  readonly #place: PlacePage;
  readonly #latency = new FaultLatency();
  #summarisedUs = 0;

  constructor(data: ListenThreadData, work: ListenThreadWork, thread: Context) {
    this.#thread = thread;
    this.#signals = createDestinationSignals(data.signals);
    this.#counters = createDestinationCounters(data.counters);
    this.#faultKick = data.faultKick;
    this.#uffd = this.#signals.get('USERFAULTFD') as UserfaultfdHandle;
    this.#channel = new Channel(work.channel, thread.kick);
    this.#reader = new StreamReader(this.#channel, work.arena, this.#counters, work.position);
    this.#blocks = work.blocks;
    this.#before = work.before;
    const sizes = work.blocks.map(({ size }) => size);
    this.#received = sizes.map((size, index) => new PageBitmap(pageCount(size), work.received[index]));
    this.#arrived = sizes.map((size, index) => new PageBitmap(pageCount(size), work.arrived[index]));
    this.#place = new PlacePage({
      uffd: this.#uffd,
      blocks: work.blocks,
      received: this.#received,
      requested: new PageRequested(sizes, work.requested),
      removed: new RemovedPages(sizes, work.removed),
      arena: this.#reader.bytes,
      counters: this.#counters,
      signals: this.#signals,
      latency: this.#latency,
      blocktime: data.blocktime === undefined ? undefined : new Blocktime(data.blocktime),
      trace: thread.trace,
    });
    this.#collector = new PageCollector(this.#place);
    this.#hostPages = new HostPageAssembly(
      work.blocks.map(({ pageSize }) => pageSize),
      this.#place,
    );
  }

  run(): void {
    this.#thread.trace.at('postcopy_ram_listen_thread_start');
    this.#readToEof();
    // Before userfaultfd lets go of the memory.
    requireAllPages(this.#blocks, this.#received);
    this.#thread.emit({ kind: 'all-here' });
    this.#awaitPackage();
    this.#end();
  }

  #readToEof(): void {
    const start = this.#counters.get('transferred');
    const { monotonicUs } = native();
    this.#place.arrivedUs = monotonicUs();
    for (;;) {
      const record = this.#reader.tryNext();
      if (record !== undefined) {
        if (this.#handle(record)) return;
        continue;
      }
      this.#collector.flush();
      this.#counters.set('postcopyBytes', this.#counters.get('transferred') - start);
      if (this.#place.arrivedUs - this.#summarisedUs > SUMMARY_US) this.#summarise();
      if (!this.#reader.fill()) this.#reader.next(); // throws: the peer has gone
      this.#place.arrivedUs = monotonicUs();
    }
  }

  /** Acts on one record; true at EOF. */
  #handle(record: StreamRecord): boolean {
    switch (record.type) {
      case 'page':
        this.#page(record);
        return false;
      case 'ram-eos':
        this.#collector.flush();
        return false;
      case 'section-part':
      case 'section-end':
        return false;
      case 'eof':
        return true;
      case 'command':
        if (record.command === 'PING') {
          this.#channel.send(encodePong(record.value));
          return false;
        }
        throw this.#illegal(record.command);
      default:
        throw this.#illegal(record.type);
    }
  }

  #page(record: PageRecord): void {
    const { recordOffset, bytes } = this.#reader;
    const page = pageIndexOf(record.offset);
    if (!this.#arrived[record.block.index].set(page)) throw this.#sentTwice(record.block.idstr, page);
    if (this.#hostPages.takes(record.block.index)) this.#hostPages.add(record, bytes, recordOffset);
    else this.#collector.add(record, recordOffset);
  }

  #sentTwice(idstr: string, page: number): MigrationError {
    const offset = this.#reader.recordOffset;
    const text = `page ${page} of RAM block ${idstr} comes a second time at offset ${offset}, after LISTEN`;
    return new MigrationError('STREAM_CORRUPT', text, { offset, record: 'page' });
  }

  #illegal(record: string): MigrationError {
    const offset = this.#reader.recordOffset;
    return new MigrationError('ILLEGAL_COMMAND', `${record} at offset ${offset}, after LISTEN`, { offset, record });
  }

  #awaitPackage(): void {
    this.#signals.waitWhile('PACKAGE', Package.PENDING);
    // The main thread has failed or was kicked, and says so itself.
    if (this.#signals.get('PACKAGE') === Package.FAILED) throw new Kicked();
  }

  /** D10. From here on the guest is whole, and what fails is no loss. */
  #end(): void {
    const { eventfdSignal, userfaultfdUnregister } = native();
    const { trace } = this.#thread;
    trace.at('postcopy_ram_incoming_cleanup_entry');
    for (const [index, { handle, size }] of this.#blocks.entries()) {
      trace.at('postcopy_cleanup_range', index);
      userfaultfdUnregister(this.#uffd, handle, 0, size);
    }
    restoreMemory(this.#signals, this.#blocks, this.#before);
    trace.at('postcopy_ram_incoming_cleanup_join');
    eventfdSignal(this.#faultKick);
    this.#signals.waitWhile('FAULT_THREAD', FaultThreadPhase.SERVING);
    trace.at('postcopy_ram_incoming_cleanup_exit');
    this.#summarise();
    this.#signals.set('STATE', postcopyStates.indexOf('end'));
    trace.at('postcopy_ram_listen_thread_exit');
    sayCompleted(this.#channel);
  }

  #summarise(): void {
    this.#summarisedUs = this.#place.arrivedUs;
    for (const stage of latencyStages) countLatency(this.#counters, stage, this.#latency.summary(stage));
  }
}

runThread<ListenThreadData, ListenThreadResult, DestinationEvent>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  const work = awaitWork<ListenThreadWork>(signals, 'LISTEN', data.work);
  if (work === undefined) return { listened: false };
  try {
    new ListenThread(data, work, thread).run();
    return { listened: true };
  } catch (error) {
    if (!(error instanceof Kicked)) thread.emit({ kind: 'failing', error: toPlainError(error) });
    sayFailed(new Channel(work.channel, thread.kick), signals.exchange('LAST_WORD', 0, 1));
    throw error;
  } finally {
    signals.set('STREAM_LEFT', 1);
  }
});
