/**
 * Listen thread of the destination: parked until LISTEN, then reads the stream while the guest runs,
 * places the pages, and ends the migration when the stream ends (D9, D10). When the connection is lost, or brings what
 * is no stream, the migration pauses (D11): nothing is given up, and the thread waits for a source that recovers it.
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel, type ChannelDescriptor } from '../channel/channel.js';
import { accept } from '../channel/connect.js';
import { MigrationError, toPlainError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import { pageOffset } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { type EventfdHandle, native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { failureOf, runThread, type ThreadContext } from '../threads/thread.js';
import { encodeIdstr, encodePong, encodeReqPages, MAX_REQ_PAGES_BYTES } from '../wire/encode.js';
import type { StreamRecord } from '../wire/messages.js';
import { Ping } from '../wire/protocol.js';
import { StepPongs } from '../wire/step-pongs.js';
import { DemandControl, type DemandErrors, type DemandThreadHandles } from './demand-control.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import {
  createDestinationSignals,
  type DestinationSignals,
  FaultThreadPhase,
  Handed,
  Handover,
  Package,
  RECOVER_NEVER,
} from './destination-signals.js';
import { sayCompleted, sayFailed } from './farewell.js';
import { HugePage } from './huge-page.js';
import { rehearse } from './listen-rehearsal.js';
import type { DestinationEvent } from './main-thread.js';
import { requireAllPages } from './missing-pages.js';
import { type IntakeAccounts, type IntakeMemory, PageIntake } from './page-intake.js';
import { awaitWork } from './parked-work.js';
import { postcopyStates } from './postcopy-state.js';
import { type MemoryBefore, restoreMemory } from './prepare-memory.js';
import { answerRecovery, isOfConnection } from './recovery.js';
import { SourceLink } from './source-link.js';
import { type StreamPosition, StreamReader } from './stream-reader.js';

export interface ListenThreadData extends IntakeAccounts {
  readonly faultKick: EventfdHandle;
  readonly demand: readonly (DemandThreadHandles & DemandErrors)[];
  /** Milliseconds for which a source may give no sign of life; 0 is no limit. */
  readonly peerTimeoutMs: number;
  /** Whether the source is one of ours, which gives signs of life also when it has nothing to send. */
  readonly isOwnSource: boolean;
  /** Whether it may come to LISTEN. */
  readonly mayListen: boolean;
  /** From the main thread: one {@link ListenThreadWork}. */
  readonly work: MessagePort;
}

/** What the main thread hands over at LISTEN. */
export interface ListenThreadWork extends IntakeMemory {
  readonly channel: ChannelDescriptor;
  readonly arena: SharedArrayBuffer;
  readonly position: StreamPosition;
  readonly before: MemoryBefore;
}

export interface ListenThreadResult {
  /** False where the migration never came to postcopy. */
  readonly listened: boolean;
}

/** Milliseconds after which whoever has connected and says nothing is no source that recovers. */
const RECOVERY_SILENCE_MS = 5000;

/** Who a source is that recovers, for messages: it may come from anywhere. */
const RECOVERING_PEER = 'the source that recovers';

type Context = ThreadContext<DestinationEvent, Record<string, never>>;

class ListenThread {
  readonly #data: ListenThreadData;
  readonly #thread: Context;
  readonly #pongs = new StepPongs((pong) => this.#thread.emit(pong));
  readonly #signals: DestinationSignals;
  readonly #counters: DestinationCounters;
  readonly #uffd: UserfaultfdHandle;
  readonly #arena: SharedArrayBuffer;
  readonly #link: SourceLink;
  /** Of the connection that is read, which is that of the link but in a recovery. */
  #channel: Channel;
  #reader: StreamReader;
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #before: MemoryBefore;
  readonly #hugePage: HugePage | undefined;
  readonly #intake: PageIntake;
  readonly #demand: DemandControl;
  /** Bytes of the stream before the switch. */
  readonly #precopyBytes: number;
  /** The source has said all pages that it sends over this connection. */
  #isLastSection = false;
  /** Pages that had come when the last ping did. */
  #pagesAtPing = -1;

  constructor(data: ListenThreadData, work: ListenThreadWork, thread: Context) {
    this.#data = data;
    this.#thread = thread;
    this.#signals = createDestinationSignals(data.signals);
    this.#counters = createDestinationCounters(data.counters);
    this.#precopyBytes = this.#counters.get('transferred');
    this.#uffd = this.#signals.get('USERFAULTFD') as UserfaultfdHandle;
    this.#arena = work.arena;
    this.#link = new SourceLink(this.#signals, RECOVERING_PEER, thread.kick);
    this.#channel = new Channel(work.channel, thread.kick);
    this.#reader = new StreamReader(this.#channel, work.arena, this.#counters, work.position);
    this.#reader.peerTimeoutMs = this.#peerTimeoutMs;
    this.#blocks = work.blocks;
    this.#before = work.before;
    this.#hugePage = work.position.context.mayHaveRuns ? new HugePage() : undefined;
    this.#intake = new PageIntake(data, work, this.#reader.bytes, thread.trace, this.#hugePage);
    this.#demand = new DemandControl(data.demand);
  }

  run(): void {
    this.#thread.trace.at('postcopy_ram_listen_thread_start');
    this.#readToEnd();
    this.#demand.end();
    this.#thread.emit({ kind: 'all-here' });
    this.#awaitPackage();
    this.#end();
  }

  close(): void {
    this.#hugePage?.close();
  }

  /** Tells the source, if it can be told, that there will be no more, and waits for it to close. */
  fail(): void {
    this.#signals.exchange('HANDOVER', Handover.ASKED, Handover.REFUSED); // told so, the source runs the guest on
    this.#outlastKick();
    sayFailed(this.#channel, this.#signals.exchange('LAST_WORD', 0, 1));
  }

  /** Over as many connections as it takes, until every page is here. */
  #readToEnd(): void {
    for (;;) {
      try {
        this.#readToEof();
        this.#awaitDemandChannels();
        // Before userfaultfd lets go of the memory.
        requireAllPages(this.#blocks, this.#intake.received);
        return;
      } catch (error) {
        if (!this.#mayPause(error) || !this.#isHandedOver()) throw error;
        this.#pause(error);
      }
    }
  }

  #readToEof(): void {
    this.#intake.bytesArrived();
    for (;;) {
      const record = this.#reader.tryNext();
      if (record !== undefined) {
        if (this.#handle(record)) return;
        continue;
      }
      this.#intake.flush();
      this.#counters.set('postcopyBytes', this.#counters.get('transferred') - this.#precopyBytes);
      if (!this.#reader.fill()) this.#reader.next(); // throws: the peer has gone
      this.#intake.bytesArrived();
    }
  }

  #awaitDemandChannels(): void {
    this.#demand.awaitEnd(() => this.#intake.received.every(isFull));
  }

  /** Acts on one record; true at EOF. */
  #handle(record: StreamRecord): boolean {
    switch (record.type) {
      case 'page':
        this.#intake.add(record, this.#reader.recordOffset);
        return false;
      case 'page-run':
        this.#intake.addRun(record, this.#reader); // or its pages come next
        return false;
      case 'ram-eos':
        this.#intake.flush();
        return false;
      case 'section-part':
        this.#isLastSection ||= record.kind === 'END';
        return false;
      case 'section-end':
        return false;
      case 'eof':
        return true;
      case 'command':
        if (record.command === 'PING') {
          if (record.value === Ping.AFTER_PACKAGE) this.#sourceHasLetGo();
          this.#lookWhetherAllIsHere();
          // Behind the last page the answer says that all are placed: those of other channels, too.
          if (this.#isLastSection && record.value >= Ping.PLACED) this.#awaitDemandChannels();
          this.#channel.send(encodePong(record.value));
          this.#pongs.tell(record.value, native().monotonicUs());
          return false;
        }
        throw this.#illegal(record.command);
      default:
        throw this.#illegal(record.type);
    }
  }

  /** A source that waits for the device state to be loaded may have nothing more to send before its end can come. */
  #lookWhetherAllIsHere(): void {
    if (this.#signals.get('PACKAGE') !== Package.PENDING) return;
    const pages = this.#counters.get('normal') + this.#counters.get('duplicate');
    const isIdle = pages === this.#pagesAtPing;
    this.#pagesAtPing = pages;
    if (isIdle && this.#intake.received.every(isFull)) this.#thread.emit({ kind: 'all-here' });
  }

  #sourceHasLetGo(): void {
    this.#signals.exchange('LET_GO', Handed.NOT_YET, Handed.YES);
  }

  #illegal(record: string): MigrationError {
    const offset = this.#reader.recordOffset;
    return new MigrationError('ILLEGAL_COMMAND', `${record} at offset ${offset}, after LISTEN`, { offset, record });
  }

  // --- pause and recovery ------------------------------------------------------------------------

  /** Not where this side ends: then the source goes because it was told, or is of no use any more. */
  #mayPause(error: unknown): error is MigrationError {
    const isEnding = (['RELEASED', 'ENDING', 'LAST_WORD'] as const).some((word) => this.#signals.get(word) === 1);
    return isOfConnection(error) && !isEnding;
  }

  /**
   * Now that the connection is lost. Where the source waits for this side's pledge and does not have it, it never
   * comes to have it: the source runs the guest on, and there is nothing to recover.
   */
  #isHandedOver(): boolean {
    const signals = this.#signals;
    signals.waitWhile('HANDOVER', Handover.UNKNOWN);
    if (signals.exchange('HANDOVER', Handover.ASKED, Handover.REFUSED)) return false;
    this.#link.down(); // whoever sends the pledge just now knows then what became of it
    signals.waitWhile('HANDOVER', Handover.PLEDGING);
    return signals.get('HANDOVER') === Handover.GIVEN;
  }

  /** D11. Returns when a source has recovered the migration. */
  #pause(reason: MigrationError): void {
    this.#demand.stop();
    this.#isLastSection = false;
    this.#intake.dropUnfinished();
    this.#intake.expectMissing();
    for (let why: Error = this.#demand.takeError() ?? reason; ; ) {
      this.#thread.emit({ kind: 'postcopy-paused', error: toPlainError(why) });
      const socket = this.#accept();
      try {
        this.#recover(socket);
        return;
      } catch (error) {
        if (!this.#mayPause(error)) throw error;
        why = error;
        native().socketShutdown(socket);
      }
    }
  }

  /** Waits for a source, at whichever listener the owner has made by then. */
  #accept(): SocketHandle {
    for (;;) {
      this.#signals.waitWhile('RECOVER_AT', 0);
      const listener = this.#signals.get('RECOVER_AT');
      if (listener === RECOVER_NEVER) throw new Kicked();
      try {
        return accept(listener as SocketHandle, this.#thread.kick);
      } catch (error) {
        if (error instanceof Kicked || this.#signals.get('RECOVER_AT') === listener) throw error;
      }
    }
  }

  /** The handshake. Where it breaks, all is as it was. */
  #recover(socket: SocketHandle): void {
    const { peerTimeoutMs } = this.#data;
    this.#thread.emit({ kind: 'postcopy-recover', socket });
    if (peerTimeoutMs > 0) native().socketSetPeerTimeout(socket, peerTimeoutMs);
    this.#channel = new Channel({ socket, peer: RECOVERING_PEER }, this.#thread.kick);
    this.#reader = new StreamReader(this.#channel, this.#arena, this.#counters, this.#reader.reconnect());
    this.#reader.peerTimeoutMs = Math.min(peerTimeoutMs || RECOVERY_SILENCE_MS, RECOVERY_SILENCE_MS);
    answerRecovery(this.#reader, this.#channel, this.#blocks, this.#intake.received);
    this.#reader.peerTimeoutMs = this.#peerTimeoutMs;
    this.#sourceHasLetGo();
    this.#signals.bump('RECOVERIES');
    this.#link.up(socket);
    const listener = this.#signals.get('RECOVER_AT');
    if (listener !== RECOVER_NEVER && this.#signals.exchange('RECOVER_AT', listener, 0))
      this.#demand.beginAll(listener as SocketHandle);
    this.#requestAgain();
    this.#thread.emit({ kind: 'recovered' });
  }

  /**
   * The source has forgotten what was asked for. After the link is up: a fault that is read just now is asked for by
   * the fault thread, or is found here, or both.
   */
  #requestAgain(): void {
    const { received, requested } = this.#intake;
    const message = new DataView(new ArrayBuffer(MAX_REQ_PAGES_BYTES));
    for (const [index, { idstr, pageSize }] of this.#blocks.entries()) {
      const name = encodeIdstr(idstr);
      const { pageCount: end } = received[index];
      const next = (from: number) => requested.findNext(index, from);
      for (let page = next(0); page < end; page = next(page + 1)) {
        if (received[index].test(page)) continue;
        const length = encodeReqPages(message, 0, pageOffset(page), pageSize, name);
        this.#link.send(new Uint8Array(message.buffer), length);
      }
    }
  }

  /** Milliseconds for which this source may send nothing. Of another than ours its kernel alone gives signs of life. */
  get #peerTimeoutMs(): number {
    return this.#data.isOwnSource ? this.#data.peerTimeoutMs : 0;
  }

  // --- the end -----------------------------------------------------------------------------------

  /** Where the owner has only asked this thread to end, it may send and receive for a moment yet. */
  #outlastKick(): void {
    const { eventfdDrain, eventfdSignal } = native();
    eventfdDrain(this.#thread.kick);
    if (this.#signals.get('RELEASED') === 1) eventfdSignal(this.#thread.kick);
  }

  #awaitPackage(): void {
    this.#sourceHasLetGo(); // as who has sent all of it has
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
    eventfdSignal(this.#data.faultKick);
    this.#signals.waitWhile('FAULT_THREAD', FaultThreadPhase.SERVING);
    trace.at('postcopy_ram_incoming_cleanup_exit');
    this.#signals.set('STATE', postcopyStates.indexOf('end'));
    trace.at('postcopy_ram_listen_thread_exit');
    this.#outlastKick();
    sayCompleted(this.#channel);
  }
}

const isFull = (pages: PageBitmap): boolean => pages.count() === pages.pageCount;

function listenOnce(data: ListenThreadData, work: ListenThreadWork, thread: Context): void {
  const listening = new ListenThread(data, work, thread);
  try {
    listening.run();
  } finally {
    listening.close();
  }
}

runThread<ListenThreadData, ListenThreadResult, DestinationEvent>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  if (data.mayListen) {
    const hasWork = () => signals.get('LISTEN') !== Handed.NOT_YET;
    thread.emit({ kind: 'rehearsed', failure: failureOf(() => rehearse(hasWork, listenOnce)) });
  }
  const work = awaitWork<ListenThreadWork>(signals, 'LISTEN', data.work);
  if (work === undefined) return { listened: false };
  let listening: ListenThread | undefined;
  try {
    listening = new ListenThread(data, work, thread);
    listening.run();
    return { listened: true };
  } catch (error) {
    if (!(error instanceof Kicked)) thread.emit({ kind: 'failing', error: toPlainError(error) });
    listening?.fail();
    throw error;
  } finally {
    listening?.close();
    signals.set('STREAM_LEFT', 1);
  }
});
