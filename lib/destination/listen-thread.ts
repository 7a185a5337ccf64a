/**
 * Listen thread of the destination: parked until LISTEN, then reads the stream while the guest runs,
 * places the pages, and ends the migration when the stream ends (D9, D10).
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError, toPlainError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { type EventfdHandle, native, type UserfaultfdHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread } from '../threads/thread.js';
import { encodePong, encodeShut } from '../wire/encode.js';
import type { PageRecord, StreamRecord } from '../wire/messages.js';
import { SHUT_SUCCESS } from '../wire/protocol.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import { createDestinationSignals, type DestinationSignals, FaultThreadPhase, Package } from './destination-signals.js';
import { sayFailed } from './farewell.js';
import { FaultLatency, type FaultLatencySummary } from './fault-latency.js';
import { HostPageAssembly } from './host-page.js';
import type { DestinationEvent } from './main-thread.js';
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
  readonly requested: PageRequestedDescriptor;
  readonly removed: RemovedPagesDescriptor;
}

export interface ListenThreadResult {
  /** False where the migration never came to postcopy. */
  readonly listened: boolean;
  readonly latency: FaultLatencySummary;
}

class ListenThread {
  readonly #signals: DestinationSignals;
  readonly #counters: DestinationCounters;
  readonly #faultKick: EventfdHandle;
  readonly #uffd: UserfaultfdHandle;
  readonly #channel: Channel;
  readonly #reader: StreamReader;
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #received: readonly PageBitmap[];
  readonly #before: MemoryBefore;
  readonly #collector: PageCollector;
  readonly #hostPages: HostPageAssembly;
  readonly #latency = new FaultLatency();

  constructor(data: ListenThreadData, work: ListenThreadWork, kick: EventfdHandle) {
    this.#signals = createDestinationSignals(data.signals);
    this.#counters = createDestinationCounters(data.counters);
    this.#faultKick = data.faultKick;
    this.#uffd = this.#signals.get('USERFAULTFD') as UserfaultfdHandle;
    this.#channel = new Channel(work.channel, kick);
    this.#reader = new StreamReader(this.#channel, work.arena, this.#counters, work.position);
    this.#blocks = work.blocks;
    this.#before = work.before;
    const sizes = work.blocks.map(({ size }) => size);
    this.#received = sizes.map((size, index) => new PageBitmap(pageCount(size), work.received[index]));
    const place = new PlacePage({
      uffd: this.#uffd,
      blocks: work.blocks,
      received: this.#received,
      requested: new PageRequested(sizes, work.requested),
      removed: new RemovedPages(sizes, work.removed),
      arena: this.#reader.bytes,
      counters: this.#counters,
      signals: this.#signals,
      latency: this.#latency,
    });
    this.#collector = new PageCollector(place);
    this.#hostPages = new HostPageAssembly(
      work.blocks.map(({ pageSize }) => pageSize),
      place,
    );
  }

  run(): FaultLatencySummary {
    this.#readToEof();
    this.#requireAllPages();
    this.#awaitPackage();
    this.#end();
    return this.#latency.summary;
  }

  #readToEof(): void {
    const start = this.#counters.get('transferred');
    for (;;) {
      const record = this.#reader.tryNext();
      if (record !== undefined) {
        if (this.#handle(record)) return;
        continue;
      }
      this.#collector.flush();
      this.#counters.set('postcopyBytes', this.#counters.get('transferred') - start);
      this.#publishLatency();
      if (!this.#reader.fill()) this.#reader.next(); // throws: the peer has gone
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
    if (this.#hostPages.takes(record.block.index)) this.#hostPages.add(record, bytes, recordOffset);
    else this.#collector.add(record, recordOffset);
  }

  #illegal(record: string): MigrationError {
    const offset = this.#reader.recordOffset;
    return new MigrationError('ILLEGAL_COMMAND', `${record} at offset ${offset}, after LISTEN`, { offset, record });
  }

  /** Before userfaultfd lets go of the memory: what is missing then reads as zeroes for ever. */
  #requireAllPages(): void {
    for (const [index, received] of this.#received.entries()) {
      const page = received.findNextClear(0);
      if (page === received.pageCount) continue;
      const missing = received.pageCount - received.count();
      throw new MigrationError(
        'PAGES_MISSING',
        `the stream ended, and ${missing} pages of RAM block ${this.#blocks[index].idstr} are missing, first ${page}`,
      );
    }
  }

  #awaitPackage(): void {
    this.#signals.waitWhile('PACKAGE', Package.PENDING);
    if (this.#signals.get('PACKAGE') === Package.FAILED) {
      throw new MigrationError('GUEST_FAILED', 'the package with the device state could not be loaded');
    }
  }

  /** D10. */
  #end(): void {
    const { eventfdSignal, userfaultfdUnregister } = native();
    for (const { handle, size } of this.#blocks) userfaultfdUnregister(this.#uffd, handle, 0, size);
    restoreMemory(this.#signals, this.#blocks, this.#before);
    eventfdSignal(this.#faultKick);
    this.#signals.waitWhile('FAULT_THREAD', FaultThreadPhase.SERVING);
    this.#publishLatency();
    this.#signals.set('STATE', postcopyStates.indexOf('end'));
    this.#channel.send(encodeShut(SHUT_SUCCESS));
  }

  #publishLatency(): void {
    const { p50Us, p99Us, maxUs } = this.#latency.summary;
    this.#counters.set('faultP50Us', p50Us);
    this.#counters.set('faultP99Us', p99Us);
    this.#counters.set('faultMaxUs', maxUs);
  }
}

runThread<ListenThreadData, ListenThreadResult, DestinationEvent>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  const work = awaitWork<ListenThreadWork>(signals, 'LISTEN', data.work);
  if (work === undefined) return { listened: false, latency: { p50Us: 0, p99Us: 0, maxUs: 0 } };
  try {
    return { listened: true, latency: new ListenThread(data, work, thread.kick).run() };
  } catch (error) {
    if (!(error instanceof Kicked)) thread.emit({ kind: 'failing', error: toPlainError(error) });
    sayFailed(new Channel(work.channel, thread.kick));
    throw error;
  } finally {
    signals.set('STREAM_LEFT', 1);
  }
});
