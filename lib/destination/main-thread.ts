/**
 * Main thread of the destination: accepts the connection and reads the stream up to RUN, or to the end
 * of a precopy. At LISTEN it hands the stream to the listen thread and goes on with the rest of the
 * package from memory. What only the owner can do (blocks, userfaultfd, guest) it calls for.
 */
import type { MessagePort } from 'node:worker_threads';
import { Channel } from '../channel/channel.js';
import { accept } from '../channel/connect.js';
import { asMigrationError, MigrationError, type PlainError, toPlainError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import type { Machine } from '../memory/guest.js';
import { mappingFlagsOf } from '../memory/mapping-flags.js';
import { pageCount, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import { native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import type { Capabilities } from '../options.js';
import { Kicked } from '../threads/kicked.js';
import { failureOf, runThread, type ThreadContext } from '../threads/thread.js';
import type { StreamDecoder } from '../wire/decode.js';
import { encodePong, encodeShut } from '../wire/encode.js';
import type { CommandRecord, RamBlockEntry, StreamRecord } from '../wire/messages.js';
import { Command, MAX_LANES, Ping, PONG_LANES, PONG_RUNS } from '../wire/protocol.js';
import { type StepPong, StepPongs } from '../wire/step-pongs.js';
import { nameOf, requireHandled } from './capability-check.js';
import { createDemandChannelWords, DemandKind } from './demand-channel.js';
import { DemandControl, type DemandThreadHandles } from './demand-control.js';
import type { DemandThreadWork } from './demand-thread.js';
import { createDestinationCounters, type DestinationCounters } from './destination-counters.js';
import {
  createDestinationSignals,
  type DestinationSignals,
  FaultThreadPhase,
  GuestPhase,
  Handed,
  Handover,
  Package,
} from './destination-signals.js';
import { ExtraConnections } from './extra-connections.js';
import { SHUT_FAILURE, sayCompleted, sayFailed } from './farewell.js';
import type { FaultThreadWork } from './fault-thread.js';
import { findPartialHostPage } from './host-page.js';
import { createIncomingMachine, type ExpectedMachine, type IncomingMachine } from './incoming-machine.js';
import type { ListenThreadWork } from './listen-thread.js';
import { type Receive, rehearse } from './main-rehearsal.js';
import { requireAllPages } from './missing-pages.js';
import { PageCollector } from './page-collector.js';
import { PageRequested } from './page-requested.js';
import { handWork } from './parked-work.js';
import { PopulateAhead } from './populate-ahead.js';
import { type PostcopyState, type PostcopyStep, postcopyStates, stepPostcopy } from './postcopy-state.js';
import { inhibitDiscards, type MemoryBefore, prepareMemory, restoreMemory } from './prepare-memory.js';
import { RamLoad } from './ram-load.js';
import { RemovedPages } from './removed-pages.js';
import { SourceLink } from './source-link.js';
import { ARENA_BYTES, StreamReader } from './stream-reader.js';
import { WatchedPages, type WatchedPagesDescriptor } from './watched-pages.js';

export interface MainThreadData {
  readonly listener: SocketHandle;
  readonly uri: string;
  readonly machine: ExpectedMachine;
  readonly capabilities: Capabilities;
  /** Milliseconds for which the source's host may give no sign of life; 0 is no limit. */
  readonly peerTimeoutMs: number;
  readonly signals: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** To the parked threads. */
  readonly listenWork: MessagePort;
  readonly faultWork: MessagePort;
  /** The demand threads, and where each is handed its work. */
  readonly demand: readonly (DemandThreadHandles & { readonly work: MessagePort })[];
  /** The most lanes that it takes. */
  readonly lanes: number;
}

/** What the owner does for this thread. */
export type DestinationOwnerCalls = {
  /** The connection is there; the owner closes it. */
  connected: (socket: SocketHandle) => void;
  /** The guest's blocks, made to fit what is announced where there is no guest yet. `machine`: if none of ours. */
  ramBlocks: (announced: {
    readonly blocks: readonly RamBlockEntry[];
    readonly machine: Machine | undefined;
  }) => Promise<readonly RAMBlockDescriptor[]>;
  /** What the owner needs where this fails: what the memory is like now, and the bitmaps of received pages. */
  willPrepareMemory: (memory: {
    readonly before: MemoryBefore;
    readonly received: readonly SharedArrayBuffer[];
  }) => void;
  /** Tries ahead what that will need, before a source has come. What it can't do is told then. */
  tryHost: (nothing: undefined) => void;
  /** Asks nothing of the guest, as {@link DestinationOwnerCalls.loadGuest} asks something. */
  rehearse: (guest: unknown) => Promise<void>;
  /** Opens a userfaultfd that can do what the blocks need, and tries it. */
  openUserfaultfd: (blocks: readonly RAMBlockDescriptor[]) => UserfaultfdHandle;
  /** Loads the guest's device state. */
  loadGuest: (guest: { readonly state: Uint8Array; readonly vmDescription: string | undefined }) => Promise<void>;
  /** The guest is this side's from now on; it is started if it `ran` at the source. */
  takeOverGuest: (guest: { readonly ran: boolean }) => Promise<void>;
};

/** What this side has come to; `all-here`: every page, of a postcopy; `recovered`: it goes on after a pause. */
export type DestinationEvent =
  | { readonly kind: 'active' | 'postcopy-active' | 'all-here' | 'recovered' }
  /** The connection was lost, or was of no use, and nobody is told that it has failed. */
  | { readonly kind: 'postcopy-paused'; readonly error: PlainError }
  /** A source has come; the owner closes the connection. */
  | { readonly kind: 'postcopy-recover'; readonly socket: SocketHandle }
  | DemandChannelEvent
  /** The blocks are known: what is watched of their pages. */
  | { readonly kind: 'pages'; readonly pages: WatchedPagesDescriptor }
  /** The pong of a step's ping has gone. */
  | StepPong
  /** Of each thread that rehearses: what was wrong in it, if anything was, shows again where it matters. */
  | { readonly kind: 'rehearsed'; readonly failure: PlainError | undefined }
  /** It has failed, and only waits for the source to close. */
  | { readonly kind: 'failing'; readonly error: PlainError };

/** A demand channel has come; the owner closes it. */
export interface DemandChannelEvent {
  readonly kind: 'demand-channel';
  /** Of its demand thread. */
  readonly index: number;
  readonly socket: SocketHandle;
  /** Where it came to. */
  readonly listener: SocketHandle;
  /** How many connections had followed the first one. */
  readonly recoveries: number;
}

/** Which way it went. */
export interface MainThreadResult {
  readonly postcopy: boolean;
}

type PingRecord = Extract<CommandRecord, { readonly command: 'PING' }>;
type SectionRecord = Extract<StreamRecord, { readonly type: 'section-start' | 'device-data' | 'section-end' }>;

class MainThread {
  readonly #data: MainThreadData;
  readonly #thread: ThreadContext<DestinationEvent, DestinationOwnerCalls>;
  readonly #signals: DestinationSignals;
  readonly #counters: DestinationCounters;
  readonly #socket: SocketHandle;
  readonly #channel: Channel;
  readonly #link: SourceLink;
  readonly #extra: ExtraConnections;
  readonly #arena = new SharedArrayBuffer(ARENA_BYTES);
  readonly #reader: StreamReader;
  readonly #machine: IncomingMachine;
  #blocks: readonly RAMBlockDescriptor[] = [];
  #received: readonly PageBitmap[] = [];
  #requested = new PageRequested([]);
  #removed = new RemovedPages([]);
  #watched = new WatchedPages([]);
  readonly #pongs = new StepPongs((pong) => this.#thread.emit(pong));
  #collector: PageCollector | undefined;
  #before: MemoryBefore = [];
  #uffd: UserfaultfdHandle | undefined;
  #pageSizeSummary = 0;
  #returnPath = false;
  /** Once the records are those of the package. */
  #package: StreamDecoder | undefined;

  constructor(
    data: MainThreadData,
    socket: SocketHandle,
    thread: ThreadContext<DestinationEvent, DestinationOwnerCalls>,
  ) {
    this.#data = data;
    this.#thread = thread;
    this.#machine = createIncomingMachine(data.machine);
    this.#signals = createDestinationSignals(data.signals);
    this.#counters = createDestinationCounters(data.counters);
    this.#socket = socket;
    if (data.peerTimeoutMs > 0) native().socketSetPeerTimeout(this.#socket, data.peerTimeoutMs);
    const peer = `the source at ${data.uri}`;
    this.#channel = new Channel({ socket: this.#socket, peer }, thread.kick);
    this.#link = new SourceLink(this.#signals, peer, thread.kick);
    this.#link.up(this.#socket);
    this.#extra = new ExtraConnections(data.listener, thread.kick, data.capabilities.postcopyPreempt);
    this.#reader = new StreamReader(this.#channel, this.#arena, this.#counters);
    thread.trace.at('migration_incoming_connected');
  }

  run(): MainThreadResult {
    this.#thread.emit({ kind: 'active' });
    for (;;) {
      const record = this.#reader.tryNext();
      if (record === undefined) {
        this.#collector?.flush();
        this.#counters.set('precopyBytes', this.#counters.get('transferred'));
        // The owner knows why. Its kick would keep this thread from telling the source.
        if (this.#signals.get('GUEST') === GuestPhase.DIED) throw new Kicked();
        if (!this.#reader.fill()) this.#reader.next(); // throws: the peer has gone
      } else if (record.type === 'eof') {
        this.#completePrecopy();
        return { postcopy: false };
      } else if (record.type === 'command' && record.command === 'PACKAGED') {
        this.#runPackage(record.length);
        return { postcopy: true };
      } else {
        this.#handle(record);
      }
    }
  }

  /** Once it has ended. */
  close(): void {
    this.#extra.close();
  }

  /** Tells the source that there will be no more, if it can be told, and waits for it to close. */
  fail(): void {
    if (!this.#returnPath) return;
    // Told that this side has failed, the source runs the guest, which may come to run here all the same.
    if (this.#signals.get('GUEST') === GuestPhase.ASKED) return;
    const isFirst = this.#signals.exchange('LAST_WORD', 0, 1);
    if (this.#signals.get('LISTEN') !== Handed.YES) {
      sayFailed(this.#channel, isFirst);
      return;
    }
    // The listen thread reads the stream, and goes on until the source has heard this and closes.
    try {
      if (isFirst) this.#link.send(encodeShut(SHUT_FAILURE));
      this.#signals.waitWhile('STREAM_LEFT', 0);
    } catch {
      // This thread is kicked.
    }
  }

  // --- records -----------------------------------------------------------------------------------

  #handle(record: StreamRecord): void {
    if (record.type !== 'page') requireHandled(record, this.#reader.recordOffset);
    switch (record.type) {
      case 'page':
        this.#needCollector(record.type).add(record, this.#reader.recordOffset);
        return;
      case 'page-run':
        return; // its pages come next
      case 'ram-eos':
        this.#collector?.flush();
        this.#lookForConnections();
        return;
      case 'header':
        this.#thread.trace.at('loadvm_state_header');
        return;
      case 'configuration':
        this.#thread.trace.at('loadvm_state_configuration');
        return this.#machine.configuration(record);
      case 'ram-blocks':
        return this.#setBlocks(record.blocks);
      case 'section-part':
        return;
      case 'section-start':
      case 'device-data':
      case 'section-end':
        return this.#section(record, this.#reader.bytes);
      case 'command':
        return this.#command(record);
      default:
        throw this.#illegal(nameOf(record), 'here');
    }
  }

  /**
   * Where a source can only be when its other connections are made: those of multifd at the end of each section of
   * RAM, that of preempt, the latest, before what follows the switch.
   */
  #lookForConnections(): void {
    this.#extra.look(this.#state !== 'none', this.#recordOffset);
  }

  /** `bytes`: where the data of a device is. */
  #section(record: SectionRecord, bytes: Uint8Array): void {
    if (record.type === 'section-start') this.#machine.sectionStart(record);
    else if (record.type === 'device-data') this.#machine.deviceData(record, bytes);
    else this.#machine.sectionEnd(record);
  }

  #setBlocks(entries: readonly RamBlockEntry[]): void {
    this.#thread.trace.at('loadvm_ram_blocks', entries.length);
    this.#machine.blocks(entries);
    this.#blocks = this.#thread.owner.call('ramBlocks', { blocks: entries, machine: this.#machine.machine });
    checkBlocks(this.#blocks, entries);
    const sizes = this.#blocks.map(({ size }) => size);
    this.#received = sizes.map((size) => new PageBitmap(pageCount(size)));
    this.#requested = new PageRequested(sizes);
    this.#removed = new RemovedPages(sizes);
    this.#watched = new WatchedPages(sizes);
    this.#thread.emit({ kind: 'pages', pages: this.#watched.descriptor(this.#received, this.#requested) });
    const ahead = this.#state === 'none' ? new PopulateAhead(this.#blocks, populate) : undefined;
    const load = new RamLoad(this.#blocks, this.#received, this.#reader.bytes, this.#counters, ahead);
    this.#collector = new PageCollector(load);
    if (this.#state !== 'none') this.#prepareForPostcopy(entries);
  }

  #needCollector(record: string): PageCollector {
    if (this.#collector === undefined) throw this.#illegal(record, 'before the block list');
    return this.#collector;
  }

  // --- commands ----------------------------------------------------------------------------------

  #command(record: CommandRecord): void {
    const { trace } = this.#thread;
    trace.at('loadvm_process_command', Command[record.command]);
    switch (record.command) {
      case 'OPEN_RETURN_PATH':
        this.#returnPath = true;
        return;
      case 'PING':
        this.#agreeOnLanes(record.value);
        this.#pong(this.#askedBy(record));
        if (record.value === Ping.RUNS) this.#pong(PONG_RUNS);
        return;
      case 'SWITCHOVER_START':
        return; // the source stops its guest now, which changes nothing here
      case 'POSTCOPY_ADVISE':
        return this.#advise(record.pageSizeSummary ?? 0, record.targetPageSize ?? 0);
      case 'POSTCOPY_RAM_DISCARD':
        this.#lookForConnections();
        this.#step(record.command);
        return this.#discard(record.idstr, record.ranges);
      default:
        throw this.#illegal(record.command, `in postcopy state ${this.#state}`);
    }
  }

  /** Where the source offers lanes: says how many are taken, before it is answered as by any destination. */
  #agreeOnLanes(value: number): void {
    const offered = value - Ping.LANES;
    if (!this.#returnPath || offered < 1 || offered > MAX_LANES) return;
    const lanes = Math.min(offered, this.#data.lanes);
    if (lanes === 0) return;
    this.#signals.set('LANES', lanes);
    this.#extra.expectLanes();
    this.#pong(PONG_LANES + lanes);
  }

  /** The value to answer with. */
  #askedBy({ value }: PingRecord): number {
    if (!this.#returnPath) throw this.#illegal('PING', 'before OPEN_RETURN_PATH');
    return value;
  }

  /** Once the listen thread reads the connection, its loss is that thread's to notice. */
  #pong(value: number): void {
    this.#thread.trace.at('loadvm_process_command_ping', value);
    const pong = encodePong(value);
    if (this.#signals.get('LISTEN') === Handed.YES) this.#link.send(pong);
    else this.#channel.send(pong);
    this.#pongs.tell(value, native().monotonicUs());
  }

  /** D4, as far as it goes without the block list. */
  #advise(pageSizeSummary: number, targetPageSize: number): void {
    if (!this.#data.capabilities.postcopyRam) {
      throw new MigrationError('UNSUPPORTED', 'the source wants postcopy, and here postcopy-ram is off', {
        hint: 'switch postcopyRam on at both sides, or off at the source',
      });
    }
    this.#step('POSTCOPY_ADVISE');
    this.#thread.trace.at('loadvm_postcopy_handle_advise');
    if (targetPageSize !== TARGET_PAGE_SIZE) {
      throw new MigrationError(
        'GUEST_MISMATCH',
        `the source has target pages of ${targetPageSize} bytes, here they have ${TARGET_PAGE_SIZE}`,
      );
    }
    this.#pageSizeSummary = pageSizeSummary;
  }

  /** D4, the rest. */
  #prepareForPostcopy(entries: readonly RamBlockEntry[]): void {
    const ram = new RAMList(this.#blocks);
    ram.requirePostcopyPageSizes();
    const { pageSizeSummary } = ram;
    checkPageSizes(this.#blocks, entries);
    if (pageSizeSummary !== this.#pageSizeSummary) {
      throw new MigrationError(
        'GUEST_MISMATCH',
        `the source's host pages (sizes or-ed: ${this.#pageSizeSummary}) are not those here (${pageSizeSummary})`,
      );
    }
    this.#before = mappingFlagsOf(this.#blocks);
    this.#thread.owner.call('willPrepareMemory', {
      before: this.#before,
      received: this.#received.map(({ buffer }) => buffer),
    });
    prepareMemory(this.#signals, this.#blocks, this.#before, this.#thread.trace);
    this.#uffd = this.#thread.owner.call('openUserfaultfd', this.#blocks);
    this.#startFaultThread(this.#uffd);
  }

  /** Before LISTEN, as nothing faults until the blocks are registered: its first turn is not downtime then. */
  #startFaultThread(uffd: UserfaultfdHandle): void {
    handWork<FaultThreadWork>(this.#data.faultWork, this.#shared);
    this.#signals.set('USERFAULTFD', uffd);
    this.#signals.exchange('PREPARED', Handed.NOT_YET, Handed.YES);
  }

  /** D6. */
  #discard(idstr: string, ranges: readonly { readonly start: number; readonly length: number }[]): void {
    this.#collector?.flush();
    const index = this.#blocks.findIndex((block) => block.idstr === idstr);
    const pairs = new Float64Array(ranges.length * 2);
    const { pageSize } = this.#blocks[index];
    for (const [i, { start, length }] of ranges.entries()) {
      if (start % pageSize !== 0 || length % pageSize !== 0) throw this.#torn(idstr, pageSize, start, length);
      pairs[i * 2] = start;
      pairs[i * 2 + 1] = length;
      this.#received[index].clearRange(pageCount(start), pageCount(length));
      this.#watched.discarded[index].setRange(pageCount(start), pageCount(length));
    }
    this.#thread.trace.at('loadvm_postcopy_ram_handle_discard', index, ranges.length);
    native().ramBlockDiscard(this.#blocks[index].handle, pairs, ranges.length);
  }

  #torn(idstr: string, pageSize: number, start: number, length: number): MigrationError {
    const offset = this.#recordOffset;
    const range = `${length} bytes from ${start} of RAM block ${idstr}`;
    return new MigrationError(
      'STREAM_CORRUPT',
      `the discard at offset ${offset} of ${range} is not of whole host pages of ${pageSize} bytes`,
      { offset, record: 'POSTCOPY_RAM_DISCARD' },
    );
  }

  // --- the two ends ------------------------------------------------------------------------------

  /**
   * D7 and D8: the package is read whole first, as the stream behind it belongs to the listen thread. Nobody runs the
   * guest meanwhile, and the pages behind the package want the processor too.
   */
  #runPackage(length: number): void {
    this.#thread.raise();
    this.#lookForConnections();
    this.#collector?.flush();
    this.#counters.set('precopyBytes', this.#counters.get('transferred'));
    this.#thread.trace.at('loadvm_handle_cmd_packaged', length);
    const { bytes, decoder } = this.#reader.takePackage(length);
    const view = new DataView(bytes.buffer);
    this.#package = decoder;
    const pings: number[] = [];
    for (let at = 0; at < length; at += decoder.consumed) {
      const record = asMigrationError(() => decoder.next(bytes, view, at, length));
      if (record === undefined) throw this.#illegal('PACKAGED', 'with a record cut at its end');
      requireHandled(record, this.#recordOffset);
      if (isOfSection(record)) this.#section(record, bytes);
      else if (record.type === 'command' && record.command === 'POSTCOPY_LISTEN') this.#listen();
      else if (record.type === 'command' && record.command === 'POSTCOPY_RUN')
        return this.#run(length - at - decoder.consumed, pings);
      else if (isPing(record)) pings.push(this.#askedBy(record));
      else throw this.#illegal(nameOf(record), 'inside the package');
    }
    throw this.#illegal('PACKAGED', 'without POSTCOPY_RUN');
  }

  /** D7. */
  #listen(): void {
    const uffd = this.#uffd;
    if (uffd === undefined)
      throw this.#illegal('POSTCOPY_LISTEN', 'without both POSTCOPY_ADVISE and a block list before it');
    this.#step('POSTCOPY_LISTEN');
    this.#thread.trace.at('loadvm_postcopy_handle_listen');
    this.#requireWholeHostPages();
    const { constants, userfaultfdRegister } = native();
    inhibitDiscards(this.#signals, this.#blocks);
    for (const { handle, size } of this.#blocks) {
      userfaultfdRegister(uffd, handle, 0, size, constants.UFFDIO_REGISTER_MODE_MISSING);
    }
    this.#signals.waitWhile('FAULT_THREAD', FaultThreadPhase.PARKED);
    // It has failed or was kicked, and says so itself.
    if (this.#signals.get('FAULT_THREAD') !== FaultThreadPhase.SERVING) throw new Kicked();
    this.#thread.trace.at('postcopy_ram_enable_notify');
    const position = this.#reader.handOver();
    const shared = { ...this.#shared, arrived: this.#received.map(({ buffer }) => buffer.slice()) };
    handWork<ListenThreadWork>(this.#data.listenWork, {
      ...shared,
      arena: this.#arena,
      position,
      before: this.#before,
    });
    this.#beginDemand({ ...shared, context: position.context });
    this.#signals.exchange('LISTEN', Handed.NOT_YET, Handed.YES);
  }

  /** Sources make their demand channels in their set-up, or at the switch: then they may be about to come. */
  #beginDemand(work: DemandThreadWork): void {
    const { listener, demand, capabilities } = this.#data;
    const lanes = this.#signals.get('LANES');
    const wanted = lanes > 0 ? lanes : Number(capabilities.postcopyPreempt);
    const control = new DemandControl(demand);
    for (const [index, thread] of demand.entries()) {
      handWork(thread.work, work);
      createDemandChannelWords(thread.words).set('KIND', lanes > 0 ? DemandKind.LANE : DemandKind.PREEMPT);
      if (index < wanted) control.begin(index, listener, this.#extra.take());
      else control.endUnused(index);
    }
  }

  /** A host page that is there in part never faults, so the rest of it could not come any more. */
  #requireWholeHostPages(): void {
    for (const [index, { idstr, pageSize }] of this.#blocks.entries()) {
      const hostPage = pageSize === TARGET_PAGE_SIZE ? -1 : findPartialHostPage(this.#received[index], pageSize);
      if (hostPage < 0) continue;
      const offset = this.#recordOffset;
      throw new MigrationError(
        'STREAM_CORRUPT',
        `at LISTEN, offset ${offset}, only a part of host page ${hostPage} of RAM block ${idstr} is here`,
        { offset, record: 'POSTCOPY_LISTEN' },
      );
    }
  }

  /**
   * D8. With the ping of the pledge among `pings` the source lets go of the guest only when it knows that it can run
   * here. The others are answered when it does: until then a source of ours sends nothing that nobody has asked for.
   */
  #run(bytesBehind: number, pings: readonly number[]): void {
    if (bytesBehind > 0) throw this.#illegal('PACKAGED', `with ${bytesBehind} bytes behind POSTCOPY_RUN`);
    const { trace } = this.#thread;
    const asksPledge = pings.includes(Ping.SWITCHOVER);
    this.#step('POSTCOPY_RUN');
    this.#signals.set('HANDOVER', asksPledge ? Handover.ASKED : Handover.GIVEN);
    trace.at('loadvm_postcopy_handle_run');
    const ran = this.#loadGuest();
    if (asksPledge) this.#pledge();
    this.#thread.owner.call('takeOverGuest', { ran });
    trace.at('loadvm_postcopy_handle_run_vmstart');
    for (const ping of pings) if (ping !== Ping.SWITCHOVER) this.#pong(ping);
    this.#thread.emit({ kind: 'postcopy-active' });
    this.#signals.exchange('PACKAGE', Package.PENDING, Package.DONE);
  }

  /**
   * Says that the guest can run here, and waits until the source has let go of it: until then it must not, as the
   * source may not have heard this. From here on it is this side's to wait for that, also over another connection.
   */
  #pledge(): void {
    const signals = this.#signals;
    // The listen thread has lost the connection, and says so.
    if (!signals.exchange('HANDOVER', Handover.ASKED, Handover.PLEDGING)) throw new Kicked();
    let handover: number = Handover.GIVEN; // also where it is in doubt
    try {
      if (!this.#link.send(encodePong(Ping.SWITCHOVER))) handover = Handover.REFUSED;
    } finally {
      signals.set('HANDOVER', handover);
    }
    if (handover === Handover.REFUSED) {
      throw new MigrationError('PEER_GONE', `lost ${this.#channel.peer} before the guest was taken over`);
    }
    this.#pongs.tell(Ping.SWITCHOVER, native().monotonicUs());
    signals.waitWhile('LET_GO', Handed.NOT_YET);
    if (signals.get('LET_GO') !== Handed.YES) throw new Kicked();
  }

  #completePrecopy(): void {
    this.#thread.raise();
    this.#collector?.flush();
    this.#counters.set('precopyBytes', this.#counters.get('transferred'));
    requireAllPages(this.#blocks, this.#received);
    const vmDescription = this.#passVmDescription();
    restoreMemory(this.#signals, this.#blocks, this.#before);
    this.#thread.trace.at('loadvm_state_main_end');
    const ran = this.#loadGuest(vmDescription);
    this.#thread.owner.call('takeOverGuest', { ran });
    // The guest is here now: whatever happens, the source must not be told that it failed.
    if (this.#returnPath) sayCompleted(this.#channel);
  }

  /** It is for those who read recordings. From EOF on the guest is this side's, so nothing behind it may stop it. */
  #passVmDescription(): string | undefined {
    try {
      const record = this.#reader.nextOrEnd();
      return record?.type === 'vmdescription' ? record.json : undefined;
    } catch (error) {
      if (error instanceof Kicked) throw error;
      return undefined;
    }
  }

  /** Whether it ran at the source. */
  #loadGuest(vmDescription?: string): boolean {
    const { state, ran } = this.#machine.take(this.#recordOffset);
    this.#thread.trace.at('loadvm_device_state', state.length);
    this.#thread.owner.call('loadGuest', { state, vmDescription });
    return ran;
  }

  /** What all threads of this side work on. */
  get #shared(): FaultThreadWork {
    return {
      channel: { socket: this.#socket, peer: this.#channel.peer },
      blocks: this.#blocks,
      received: this.#received.map(({ buffer }) => buffer),
      requested: this.#requested.descriptor,
      removed: this.#removed.descriptor,
      faulted: this.#watched.faulted.map(({ buffer }) => buffer),
    };
  }

  /** Stream offset of the record that is acted on. */
  get #recordOffset(): number {
    return (this.#package ?? this.#reader).recordOffset;
  }

  // --- state -------------------------------------------------------------------------------------

  get #state(): PostcopyState {
    return postcopyStates[this.#signals.get('STATE')];
  }

  #step(step: PostcopyStep): void {
    const next = stepPostcopy(this.#state, step);
    if (next === undefined) throw this.#illegal(step, `in postcopy state ${this.#state}`);
    this.#signals.set('STATE', postcopyStates.indexOf(next));
  }

  #illegal(record: string, where: string): MigrationError {
    const offset = this.#recordOffset;
    return new MigrationError('ILLEGAL_COMMAND', `${record} at offset ${offset}, ${where}`, { offset, record });
  }
}

function populate({ handle }: RAMBlockDescriptor, offset: number, length: number): void {
  void native().ramBlockPopulate(handle, offset, length);
}

function isOfSection(record: StreamRecord): record is SectionRecord {
  return record.type === 'section-start' || record.type === 'device-data' || record.type === 'section-end';
}

function isPing(record: StreamRecord): record is PingRecord {
  return record.type === 'command' && record.command === 'PING';
}

/** The guest here must have the blocks of the guest there. */
function checkBlocks(blocks: readonly RAMBlockDescriptor[], entries: readonly RamBlockEntry[]): void {
  const here = blocks.map(({ idstr, size }) => `${idstr} ${size}`).join(', ');
  const there = entries.map(({ idstr, usedLength }) => `${idstr} ${usedLength}`).join(', ');
  if (here !== there) {
    throw new MigrationError('GUEST_MISMATCH', `the source's RAM blocks are ${there}; here they are ${here}`);
  }
}

/** Only where postcopy was advised does the list say page sizes: those that are not the host's. */
function checkPageSizes(blocks: readonly RAMBlockDescriptor[], entries: readonly RamBlockEntry[]): void {
  const { HOST_PAGE_SIZE } = native().constants;
  for (const [index, { idstr, pageSize }] of blocks.entries()) {
    const there = entries[index].pageSize ?? HOST_PAGE_SIZE;
    if (there === pageSize) continue;
    throw new MigrationError(
      'GUEST_MISMATCH',
      `RAM block ${idstr} has pages of ${there} bytes at the source; here they have ${pageSize}`,
    );
  }
}

/** Before a source has come. */
function prepare(data: MainThreadData, { owner, emit }: ThreadContext<DestinationEvent, DestinationOwnerCalls>): void {
  owner.call('tryHost', undefined);
  const isWanted = () => native().socketReadable(data.listener);
  const receive: Receive = (rehearsed, socket, thread) => new MainThread(rehearsed, socket, thread).run();
  emit({ kind: 'rehearsed', failure: failureOf(() => rehearse(data, owner, isWanted, receive)) });
}

runThread<MainThreadData, MainThreadResult, DestinationEvent, DestinationOwnerCalls>((data, thread) => {
  const signals = createDestinationSignals(data.signals);
  let main: MainThread | undefined;
  try {
    if (data.capabilities.postcopyRam) prepare(data, thread);
    const socket = accept(data.listener, thread.kick);
    thread.owner.call('connected', socket);
    main = new MainThread(data, socket, thread);
    return main.run();
  } catch (error) {
    signals.exchange('HANDOVER', Handover.UNKNOWN, Handover.GIVEN); // for all that is known
    signals.exchange('PACKAGE', Package.PENDING, Package.FAILED);
    if (!(error instanceof Kicked)) thread.emit({ kind: 'failing', error: toPlainError(error) });
    main?.fail();
    throw error;
  } finally {
    main?.close();
    // Who is still parked is not needed any more.
    signals.exchange('PREPARED', Handed.NOT_YET, Handed.NEVER);
    signals.exchange('LISTEN', Handed.NOT_YET, Handed.NEVER);
    data.listenWork.close();
    data.faultWork.close();
    for (const { work } of data.demand) work.close();
  }
});
