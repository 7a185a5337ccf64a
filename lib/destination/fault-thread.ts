/**
 * Fault thread of the destination: reads the guest's page faults from userfaultfd and asks the source
 * for the pages. Parked from the start of the migration until the memory is prepared for postcopy, so
 * that nobody waits for a thread to be made; then serves until it is kicked.
 *
 * It never installs pages and never touches guest memory: who reads the events must not wait for what
 * only reading them can release.
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { alignDown, pageCount, pageIndexOf } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import { native, type UserfaultfdHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread } from '../threads/thread.js';
import { encodeReqPages, MAX_REQ_PAGES_BYTES } from '../wire/encode.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import { createDestinationSignals, FaultThreadPhase } from './destination-signals.js';
import { PageRequested, type PageRequestedDescriptor } from './page-requested.js';
import { awaitWork } from './parked-work.js';

export interface FaultThreadData {
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** From the main thread: one {@link FaultThreadWork}. */
  readonly work: MessagePort;
}

/** What the main thread hands over. */
export interface FaultThreadWork {
  readonly channel: ChannelDescriptor;
  readonly blocks: readonly RAMBlockDescriptor[];
  readonly received: readonly SharedArrayBuffer[];
  readonly requested: PageRequestedDescriptor;
}

/** Events of one read. */
const EVENTS_MAX = 64;

class FaultThread {
  readonly #uffd: UserfaultfdHandle;
  readonly #channel: Channel;
  readonly #ram: RAMList;
  readonly #received: readonly PageBitmap[];
  readonly #requested: PageRequested;
  readonly #counters: DestinationCounters;
  readonly #names: readonly Uint8Array[];
  readonly #message = new DataView(new ArrayBuffer(MAX_REQ_PAGES_BYTES));
  readonly #messageBytes = new Uint8Array(this.#message.buffer);
  /** The block named in the last request. */
  #lastBlock = -1;

  constructor(uffd: UserfaultfdHandle, work: FaultThreadWork, channel: Channel, counters: DestinationCounters) {
    this.#uffd = uffd;
    this.#channel = channel;
    this.#counters = counters;
    this.#ram = new RAMList(work.blocks);
    this.#received = work.blocks.map(({ size }, index) => new PageBitmap(pageCount(size), work.received[index]));
    this.#requested = new PageRequested(
      work.blocks.map(({ size }) => size),
      work.requested,
    );
    this.#names = work.blocks.map(({ idstr }) => new TextEncoder().encode(idstr));
  }

  /** A fault at a host address: asks for the page, unless it is here or asked for. */
  handle(address: number): void {
    this.#counters.add('faults', 1);
    const position = this.#ram.fromHost(address);
    if (position === undefined) {
      throw new MigrationError('GUEST_FAILED', `a page fault at ${address.toString(16)}, outside all RAM blocks`);
    }
    const { block, index } = position;
    const offset = alignDown(position.offset, block.pageSize);
    const page = pageIndexOf(offset);
    const { monotonicUs, userfaultfdWake } = native();
    if (!this.#received[index].test(page)) {
      if (this.#requested.add(index, page, monotonicUs())) this.#request(index, offset, block.pageSize);
      if (!this.#received[index].test(page)) return;
    }
    // It came while the fault was on its way here. Placing has woken whoever waited then; this is for who came after.
    this.#requested.settle(index, page);
    userfaultfdWake(this.#uffd, block.handle, offset, block.pageSize);
  }

  #request(blockIndex: number, offset: number, length: number): void {
    const name = this.#lastBlock === blockIndex ? undefined : this.#names[blockIndex];
    this.#lastBlock = blockIndex;
    this.#channel.send(this.#messageBytes, encodeReqPages(this.#message, 0, offset, length, name));
    this.#counters.add('postcopyRequests', 1);
  }
}

runThread<FaultThreadData, void>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  try {
    const work = awaitWork<FaultThreadWork>(signals, 'PREPARED', data.work);
    if (work === undefined) return;
    const uffd = signals.get('USERFAULTFD') as UserfaultfdHandle;
    const faults = new FaultThread(
      uffd,
      work,
      new Channel(work.channel, thread.kick),
      createDestinationCounters(data.counters),
    );
    const { constants: c, readEvents } = native();
    const events = new Float64Array(EVENTS_MAX * c.EVENT_WORDS);
    signals.set('FAULT_THREAD', FaultThreadPhase.SERVING);
    for (;;) {
      const count = readEvents(uffd, thread.kick, events, -1);
      if (count === c.KICKED) throw new Kicked();
      signals.bump('EVENTS_READ');
      for (let at = 0; at < count * c.EVENT_WORDS; at += c.EVENT_WORDS) {
        if (events[at + c.EVENT_KIND] === c.UFFD_EVENT_PAGEFAULT) faults.handle(events[at + c.EVENT_ADDRESS]);
      }
    }
  } finally {
    signals.set('FAULT_THREAD', FaultThreadPhase.ENDED);
  }
});
