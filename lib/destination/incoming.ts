/**
 * The incoming migration as its owner sees it: starts the threads, makes or takes the guest, does for
 * it what they ask, and cleans up when they have ended. Lives in the thread of its caller.
 */
import { EventEmitter } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { bind, type Listener } from '../channel/connect.js';
import { fromPlainError, MigrationError, type PlainError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import type { Guest, Machine, MachineReceiver } from '../memory/guest.js';
import { guestFailed, requireAlive, watchForDeath, withinLimit } from '../memory/guest-failure.js';
import { pageCount } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import type { OpenedUserfaultfd } from '../memory/userfaultfd.js';
import { type NativeError, native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import type { Capabilities, PrefetchPolicy } from '../options.js';
import { startThread, type Thread, type ThreadOutcome } from '../threads/thread.js';
import { TraceSession } from '../trace/trace-session.js';
import type { RamBlockEntry } from '../wire/messages.js';
import { Blocktime } from './blocktime.js';
import { createDemandChannelWords, type DemandChannelWords, DemandPhase } from './demand-channel.js';
import type { DemandThreadHandles } from './demand-control.js';
import { DemandSockets } from './demand-sockets.js';
import type { DemandThreadData } from './demand-thread.js';
import { createDestinationCounters, type DestinationCounters, sumOfCounters } from './destination-counters.js';
import {
  createDestinationSignals,
  GuestPhase,
  Handed,
  Handover,
  Package,
  RECOVER_NEVER,
} from './destination-signals.js';
import { FaultLatency, type LatencyStage } from './fault-latency.js';
import type { FaultThreadData } from './fault-thread.js';
import { type HostTriedAhead, openAhead, openForPostcopy } from './host-check.js';
import { type GuestLoss, type IncomingInfo, incomingInfo } from './incoming-info.js';
import { IncomingState, type IncomingStatus } from './incoming-state.js';
import type { ListenThreadData, ListenThreadResult } from './listen-thread.js';
import type {
  DemandChannelEvent,
  DestinationEvent,
  DestinationOwnerCalls,
  MainThreadData,
  MainThreadResult,
} from './main-thread.js';
import type { IntakeAccounts } from './page-intake.js';
import { poisonMissing } from './poison-missing.js';
import { postcopyStates } from './postcopy-state.js';
import { type MemoryBefore, restoreMemory } from './prepare-memory.js';
import { type ArrivingPages, arrivingPages } from './watched-pages.js';

/** A guest of ours that is there, or what makes one to fit the source's blocks; or what takes any machine. */
export type GuestOrFactory = Guest | ((blocks: readonly RamBlockEntry[]) => Guest | Promise<Guest>) | MachineReceiver;

export interface IncomingOptions {
  readonly capabilities: Capabilities;
  /** Milliseconds that the guest may take for each thing it is asked, waits for pages aside; 0 is no limit. */
  readonly guestTimeoutMs: number;
  /** Milliseconds for which the source may give no sign of life in postcopy; 0 is no limit. */
  readonly peerTimeoutMs: number;
  readonly prefetch: PrefetchPolicy;
  /** The most lanes that are taken from a source of ours; 0 is none. */
  readonly lanes: number;
}

export interface IncomingEvents {
  status: [status: IncomingStatus];
  /** A ping of one of the source's steps was answered, at that moment of CLOCK_MONOTONIC in µs. */
  pong: [value: number, atUs: number];
}

/** Milliseconds for the source to close once it was told that this side fails. */
const LAST_WORD_MS = 1000;

/** The main thread, the listen thread and the fault thread. */
const REHEARSING_THREADS = 3;

interface Threads {
  readonly main: Thread<MainThreadResult>;
  readonly listen: Thread<ListenThreadResult>;
  readonly fault: Thread<void>;
  /** With the capability postcopy-preempt one, with lanes one for each. */
  readonly demand: readonly DemandThread[];
}

interface DemandThread {
  readonly thread: Thread<void>;
  readonly words: DemandChannelWords;
  readonly counters: DestinationCounters;
}

export class IncomingMigration extends EventEmitter<IncomingEvents> {
  readonly #listener: Listener;
  readonly #guestOrFactory: GuestOrFactory;
  readonly #options: IncomingOptions;
  readonly #signals = createDestinationSignals();
  readonly #counters = createDestinationCounters();
  readonly #latency = new FaultLatency();
  readonly #trace: TraceSession;
  readonly #state = new IncomingState();
  /** With the capability. */
  readonly #blocktime: Blocktime | undefined;
  readonly #guestCallsAbandoned: Promise<never>;
  #abandonGuestCalls: (reason: unknown) => void = () => {};
  readonly #threads: Threads;
  readonly #rehearsals: (PlainError | undefined)[] = [];
  readonly #rehearsed: Promise<void>;
  #resolveRehearsed: () => void = () => {};
  /** Every page has come. */
  readonly #allHere: Promise<void>;
  #resolveAllHere: () => void = () => {};
  #guest: Guest | undefined;
  #unwatchGuest: () => void = () => {};
  /** It died after it was started here. */
  #death: MigrationError | undefined;
  #socket: SocketHandle | undefined;
  readonly #demandSockets = new DemandSockets();
  #recoveries = 0;
  /** Where a source may recover the migration; while it is paused. */
  #recoverAt: Listener | undefined;
  #uri: string;
  #pauseReason: MigrationError | undefined;
  /** Who has had the connection broken is this side. */
  #pauseAsked = false;
  #uffd: OpenedUserfaultfd | undefined;
  /** For postcopy, before there is anything to open it for. */
  #ahead: HostTriedAhead | undefined;
  #memoryBefore: MemoryBefore = [];
  /** What is being filled, whatever the guest makes of its RAM meanwhile. */
  #blocks: readonly RAMBlockDescriptor[] = [];
  #received: readonly PageBitmap[] = [];
  #arriving: readonly ArrivingPages[] = [];
  #lost: GuestLoss | undefined;
  /** What never came is to be poisoned, and is. */
  #poisons = false;
  #isPoisoned = false;
  #firstError: Error | undefined;
  #patience: NodeJS.Timeout | undefined;

  /** Resolved when completed; rejected with a MigrationError when failed. All threads and fds are gone by then. */
  readonly finished: Promise<IncomingInfo>;

  /** Takes over `listener`. `traceWords` are a test's, with a breakpoint set. */
  constructor(listener: Listener, guest: GuestOrFactory, options: IncomingOptions, traceWords?: SharedArrayBuffer) {
    super();
    this.#listener = listener;
    this.#uri = listener.uri;
    this.#guestOrFactory = guest;
    this.#options = options;
    this.#trace = new TraceSession('destination', 'owner', { postcopyState: postcopyStates }, traceWords);
    this.#blocktime = options.capabilities.postcopyBlocktime ? new Blocktime() : undefined;
    this.#guestCallsAbandoned = new Promise<never>((_, reject) => {
      this.#abandonGuestCalls = reject;
    });
    this.#guestCallsAbandoned.catch(() => {});
    this.#allHere = new Promise((resolve) => {
      this.#resolveAllHere = resolve;
    });
    this.#rehearsed = new Promise((resolve) => {
      this.#resolveRehearsed = resolve;
    });
    this.#state.move('setup');
    this.#threads = this.#startThreads();
    this.finished = this.#run();
    this.finished.catch(() => {}); // whoever cares awaits it; nobody must
  }

  /** Its threads have started and rehearsed, and a source is not kept waiting for them. Never rejects. */
  async ready(): Promise<void> {
    await Promise.all(this.#allThreads.map(({ ready }) => ready));
    if (!this.#options.capabilities.postcopyRam) return;
    await Promise.race([this.#rehearsed, ...this.#allThreads.map(({ ended }) => ended)]);
  }

  /** What was wrong in the rehearsals of those that have gone through one; for a test. */
  get rehearsals(): readonly (PlainError | undefined)[] {
    return this.#rehearsals;
  }

  /** Where it listens, or did last; the port filled in. */
  get uri(): string {
    return this.#uri;
  }

  get status(): IncomingStatus {
    return this.#state.status;
  }

  /** Where its threads trace, and a test has them fail or wait. */
  get traceWords(): SharedArrayBuffer {
    return this.#trace.words;
  }

  /** The guest, once there is one. */
  get guest(): Guest | undefined {
    return this.#guest;
  }

  /** How it stands now, or how it ended. */
  info(): IncomingInfo {
    const blocktime = this.#blocktime;
    return incomingInfo({
      status: this.#state.status,
      postcopy: this.#listens,
      counters: sumOfCounters([this.#counters, ...this.#threads.demand.map(({ counters }) => counters)]),
      latency: (stage) => this.#latency.summary(stage),
      blocktime: blocktime === undefined ? undefined : { overallUs: blocktime.overallUs, vcpuUs: blocktime.vcpuUs() },
      guestDied: this.#death?.message,
      lost: this.#lost,
    });
  }

  /** Why it is paused; undefined while it is not. In `postcopy-recover` why it was. */
  get pauseReason(): MigrationError | undefined {
    return this.#pauseReason;
  }

  /** The target pages that are here, by RAM block; empty until postcopy is prepared for. Changes while pages come. */
  get received(): readonly PageBitmap[] {
    return this.#received;
  }

  /** Of the faults that were served, how many took how long: see `FaultLatency.counts`. */
  latencyCounts(stage: LatencyStage, boundsUs: readonly number[]): number[] {
    return this.#latency.counts(stage, boundsUs);
  }

  /** Microseconds that the faults which were served took, to a thousandth. */
  latencySumUs(stage: LatencyStage): number {
    return this.#latency.sumUs(stage);
  }

  /** The RAM blocks, once a source has announced them, and what is known of their pages. */
  get watchedPages(): readonly ArrivingPages[] {
    return this.#arriving;
  }

  /**
   * Ends it. Once the guest was handed over to here, it is lost with this, unless all has come by then: a migration
   * that is complete stays so. A source that can be told is told, and given a second to close.
   */
  abort(): void {
    this.#firstError ??= new MigrationError('CANCELLED', 'the incoming migration was ended here', {
      hint: 'start the destination again',
    });
    this.#end();
  }

  /**
   * Pauses it, in `postcopy-active`, by breaking the connection, as QMP's migrate-pause does; false otherwise. The
   * source pauses, too.
   */
  pause(): boolean {
    if (this.#state.status !== 'postcopy-active' || this.#socket === undefined) return false;
    this.#pauseAsked = true;
    native().socketShutdown(this.#socket);
    this.#demandSockets.break();
    return true;
  }

  /**
   * Listens anew while it is paused, as QMP's migrate-recover does: at `uri`, or where it listened before. Resolves
   * with where it listens. Until a source has recovered the migration it stays paused and listens; asked again, it
   * listens elsewhere.
   * Rejects with BAD_ARGUMENT where it is not paused, BAD_URI, ADDRESS_IN_USE or LISTEN_FAILED.
   */
  async recover(uri = this.#uri): Promise<string> {
    this.#requirePaused();
    if (this.#recoverAt?.uri === uri) return uri;
    const listener = await bind(uri);
    try {
      this.#requirePaused();
    } catch (error) {
      listener.close();
      throw error;
    }
    const before = this.#recoverAt;
    this.#recoverAt = listener;
    this.#uri = listener.uri;
    this.#signals.set('RECOVER_AT', listener.socket);
    if (before !== undefined) stopListening(before);
    return listener.uri;
  }

  /**
   * Ends a migration that is paused or recovers. False, and nothing, in any other status. Where every page has come and
   * the guest is here it has completed; else failed, with RECOVERY_GIVEN_UP, and `info().lost` says what is lost. What
   * came can be read in any case. `freeze`: whoever waits for a missing page, or comes to one, goes on waiting (see
   * {@link abandon}). `poison`: it gets SIGBUS, which ends a process of which it is a thread, and never zeroes; the
   * memory is let go of. Throws KERNEL_TOO_OLD where the kernel can't poison pages.
   */
  giveUp(how: 'freeze' | 'poison'): boolean {
    if (!this.#isPaused) return false;
    if (how === 'poison') this.#requirePoison();
    this.#poisons = how === 'poison';
    this.#firstError = new MigrationError(
      'RECOVERY_GIVEN_UP',
      `the recovery was given up: ${this.#pauseReason?.message}`,
      { cause: this.#pauseReason },
    );
    this.#release();
    return true;
  }

  /**
   * Lets go of the memory of a guest that was lost here (`info().lost`): whoever waits for a missing page goes on,
   * and finds zeroes. Only for a guest whose state does not matter any more; otherwise does nothing.
   */
  abandon(): void {
    if (this.#lost !== undefined) this.#letGoOfMemory();
  }

  #startThreads(): Threads {
    const signals = this.#signals.buffer;
    const counters = this.#counters.buffer;
    const blocktime = this.#blocktime?.buffer;
    const { capabilities, peerTimeoutMs, prefetch, lanes } = this.#options;
    const machine = 'receive' in this.#guestOrFactory ? { like: this.#guestOrFactory.like } : 'own';
    const accounts = { signals, counters, latency: this.#latency.buffer, blocktime };
    const faultWork = new MessageChannel();
    const listenWork = new MessageChannel();
    const demandThreads = Math.max(lanes, Number(capabilities.postcopyPreempt));
    const demand = Array.from({ length: demandThreads }, (_, index) => this.#startDemandThread(index, accounts));
    const handles = demand.map(({ handles: each }) => each);
    const fault = startThread<FaultThreadData, void, DestinationEvent>({
      name: 'mig/dst/fault',
      urgent: true, // a vCPU waits for what it does
      entry: new URL('./fault-thread.bundle.cjs', import.meta.url),
      trace: this.#trace.open('mig/dst/fault'),
      data: {
        ...{ signals, counters, blocktime, prefetch, mayServe: capabilities.postcopyRam },
        lanes: handles.slice(0, lanes),
        work: faultWork.port2,
      },
      transfer: [faultWork.port2],
      onEvent: (event) => this.#onEvent(event),
    });
    const listen = startThread<ListenThreadData, ListenThreadResult, DestinationEvent>({
      name: 'mig/dst/listen',
      entry: new URL('./listen-thread.bundle.cjs', import.meta.url),
      trace: this.#trace.open('mig/dst/listen'),
      data: {
        ...accounts,
        peerTimeoutMs,
        isOwnSource: machine === 'own',
        mayListen: capabilities.postcopyRam,
        faultKick: fault.kickHandle,
        demand: demand.map(({ handles: each, errors }) => ({ ...each, errors })),
        work: listenWork.port2,
      },
      transfer: [listenWork.port2, ...demand.map(({ errors }) => errors)],
      onEvent: (event) => this.#onEvent(event),
    });
    const main = startThread<MainThreadData, MainThreadResult, DestinationEvent>({
      name: 'mig/dst/main',
      entry: new URL('./main-thread.bundle.cjs', import.meta.url),
      trace: this.#trace.open('mig/dst/main'),
      data: {
        listener: this.#listener.socket,
        uri: this.#listener.uri,
        machine,
        capabilities,
        peerTimeoutMs,
        signals,
        counters,
        listenWork: listenWork.port1,
        faultWork: faultWork.port1,
        demand: demand.map(({ handles: each, work }) => ({ ...each, work })),
        lanes,
      },
      transfer: [listenWork.port1, faultWork.port1, ...demand.map(({ work }) => work)],
      calls: this.#calls(),
      onEvent: (event) => this.#onEvent(event),
    });
    return { main, listen, fault, demand: demand.map(({ demandThread }) => demandThread) };
  }

  /** With the other ends of its ports: what it is handed, and what it says of errors. */
  #startDemandThread(
    index: number,
    accounts: IntakeAccounts,
  ): {
    readonly demandThread: DemandThread;
    readonly handles: DemandThreadHandles;
    readonly work: MessagePort;
    readonly errors: MessagePort;
  } {
    const { peerTimeoutMs } = this.#options;
    const work = new MessageChannel();
    const errors = new MessageChannel();
    const counters = createDestinationCounters();
    const words = createDemandChannelWords();
    const name = index === 0 ? 'mig/dst/fast' : `mig/dst/fast${index}`;
    const ports = { work: work.port2, errors: errors.port2 };
    const thread = startThread<DemandThreadData, void, DestinationEvent>({
      name,
      urgent: true, // a vCPU waits for what it brings
      entry: new URL('./demand-thread.bundle.cjs', import.meta.url),
      trace: this.#trace.open(name),
      data: { ...accounts, ...ports, index, words: words.buffer, counters: counters.buffer, peerTimeoutMs },
      transfer: [work.port2, errors.port2],
      onEvent: (event) => this.#onEvent(event),
    });
    return {
      demandThread: { thread, words, counters },
      handles: { kick: thread.kickHandle, words: words.buffer },
      work: work.port1,
      errors: errors.port1,
    };
  }

  #calls(): DestinationOwnerCalls {
    return {
      connected: (socket) => {
        this.#socket = socket;
      },
      ramBlocks: ({ blocks, machine }) => this.#ramBlocks(blocks, machine),
      willPrepareMemory: ({ before, received }) => {
        this.#memoryBefore = before;
        this.#received = this.#blocks.map(({ size }, index) => new PageBitmap(pageCount(size), received[index]));
      },
      tryHost: () => {
        this.#ahead = openAhead();
      },
      rehearse: () => this.#ask('do nothing', async () => {}),
      openUserfaultfd: (blocks) => this.#openUserfaultfd(blocks),
      loadGuest: ({ state, vmDescription }) => this.#loadGuest(state, vmDescription),
      takeOverGuest: ({ ran }) => this.#takeOverGuest(ran),
    };
  }

  get #allThreads(): readonly Thread<unknown>[] {
    const { main, listen, fault, demand } = this.#threads;
    return [main, listen, fault, ...demand.map(({ thread }) => thread)];
  }

  async #run(): Promise<IncomingInfo> {
    const [main, listen, ...others] = await Promise.all(this.#allThreads.map((thread) => this.#watch(thread)));
    // What came in between, such as an abort, came too late.
    const isComplete = main === 'returned' && listen === 'returned' && !others.includes('failed');
    const error = isComplete ? this.#deathWithAllHere() : (this.#firstError ?? new Error('a thread ended early'));
    if (error !== undefined && this.#poisons) await this.#poison();
    this.#cleanUp(error);
    const hasFailed = error !== undefined && !this.#isWholeAllTheSame(error);
    this.#setStatus(hasFailed ? 'failed' : 'completed');
    if (hasFailed) throw error;
    return this.info();
  }

  /** Nobody recovers it any more, and nothing was missing but the source's last word. */
  #isWholeAllTheSame(error: Error): boolean {
    return error instanceof MigrationError && error.code === 'RECOVERY_GIVEN_UP' && this.#lost === undefined;
  }

  /** Where it fails, whoever comes to a missing page waits as if it was not asked for. */
  async #poison(): Promise<void> {
    if (this.#uffd === undefined) return;
    try {
      await poisonMissing(this.#uffd.handle, this.#blocks, this.#received);
      this.#isPoisoned = true;
    } catch (error) {
      process.emitWarning(`missing pages of a guest that is lost could not be poisoned, and wait: ${String(error)}`);
    }
  }

  /** Waits for one thread's end; the first that fails ends the others. */
  async #watch(thread: Thread<unknown>): Promise<ThreadOutcome<unknown>['kind']> {
    const outcome = await thread.ended;
    const { main, listen, fault } = this.#threads;
    if (thread === main) {
      if (!this.#listens || this.#demandSockets.count(0) >= this.#demandChannels) this.#listener.close();
      // After a precopy nobody else ends the fault thread.
      if (!this.#listens) fault.kick();
    }
    if (outcome.kind === 'failed') this.#firstError ??= outcome.error;
    const isReader = thread === main || thread === listen;
    if (isReader && outcome.kind !== 'returned') this.#release();
    else if (outcome.kind === 'failed') this.#end();
    return outcome.kind;
  }

  /** How many demand channels the source makes at each connection, as far as is known. */
  get #demandChannels(): number {
    return this.#signals.get('LANES') || Number(this.#options.capabilities.postcopyPreempt);
  }

  /** Ends all threads. In postcopy the listen thread has a moment to tell the source, where it can. */
  #end(): void {
    if (!this.#listens || this.#state.status === 'postcopy-paused') return this.#release();
    this.#signals.set('ENDING', 1);
    this.#abandonGuest(this.#firstError);
    this.#threads.listen.kick();
    this.#patience ??= setTimeout(() => this.#release(), LAST_WORD_MS);
  }

  /** Frees every thread from whatever it waits for. */
  #release(): void {
    this.#signals.set('RELEASED', 1);
    this.#signals.exchange('PREPARED', Handed.NOT_YET, Handed.NEVER);
    this.#signals.exchange('LISTEN', Handed.NOT_YET, Handed.NEVER);
    this.#signals.exchange('PACKAGE', Package.PENDING, Package.FAILED);
    this.#signals.set('RECOVER_AT', RECOVER_NEVER);
    for (const { words } of this.#threads.demand) words.set('PHASE', DemandPhase.ENDED);
    this.#abandonGuest(this.#firstError);
    for (const thread of this.#allThreads) thread.kick();
  }

  /** It will not come to run here, if it does not yet: nobody waits for it any more. */
  #abandonGuest(reason: Error | undefined): void {
    this.#signals.exchange('HANDOVER', Handover.ASKED, Handover.REFUSED);
    this.#signals.exchange('LET_GO', Handed.NOT_YET, Handed.NEVER);
    this.#abandonGuestCalls(reason);
  }

  #onEvent(event: DestinationEvent): void {
    switch (event.kind) {
      case 'failing':
        return this.#failing(fromPlainError(event.error));
      case 'all-here':
        return this.#resolveAllHere();
      case 'pages':
        this.#arriving = arrivingPages(this.#blocks, event.pages);
        return;
      case 'pong':
        this.emit('pong', event.value, event.atUs);
        return;
      case 'postcopy-paused':
        return this.#paused(fromPlainError(event.error) as MigrationError);
      case 'postcopy-recover':
        this.#closeSocket();
        this.#socket = event.socket;
        return this.#setStatus('postcopy-recover');
      case 'demand-channel':
        return this.#demandChannel(event);
      case 'rehearsed':
        this.#rehearsals.push(event.failure);
        if (this.#rehearsals.length === REHEARSING_THREADS) this.#resolveRehearsed();
        return;
      case 'recovered':
        return this.#recovered();
      case 'active':
        return this.#setStatus('active');
      case 'postcopy-active':
        // The guest may have come to run in a pause.
        if (this.#state.status === 'active') this.#setStatus('postcopy-active');
    }
  }

  /** A thread ends, or will soon; the others have a moment for the last word, if there is anybody to hear it. */
  #failing(error: Error): void {
    this.#firstError ??= error;
    if (this.#state.status === 'postcopy-paused') this.#release();
    else this.#patience ??= setTimeout(() => this.#release(), LAST_WORD_MS);
  }

  #paused(reason: MigrationError): void {
    this.#closeSocket();
    this.#demandSockets.closeUpTo(this.#recoveries);
    stopListening(this.#listener);
    if (this.#state.status !== 'postcopy-recover') this.#stopRecoverAt(); // nobody came to it any more
    this.#pauseReason = this.#pauseAsked ? pausedHere(reason) : reason;
    this.#pauseAsked = false;
    this.#setStatus('postcopy-paused');
    if (this.#firstError !== undefined) this.#release(); // nobody will recover it
  }

  #recovered(): void {
    if (this.#demandChannels === 0) this.#stopRecoverAt(); // else when they have come
    this.#recoveries += 1;
    this.#pauseReason = undefined;
    this.#setStatus('postcopy-active');
  }

  /** When all have come nobody else is let in there. */
  #demandChannel({ index, socket, listener, recoveries }: DemandChannelEvent): void {
    this.#demandSockets.add(index, socket, recoveries);
    if (this.#demandSockets.count(recoveries) < this.#demandChannels) return;
    if (this.#listener.socket === listener) stopListening(this.#listener);
    else if (this.#recoverAt?.socket === listener) this.#stopRecoverAt();
  }

  #stopRecoverAt(): void {
    if (this.#recoverAt !== undefined) stopListening(this.#recoverAt);
    this.#recoverAt = undefined;
  }

  #requirePoison(): void {
    const granted = this.#uffd?.granted ?? 0n;
    if ((granted & native().constants.UFFD_FEATURE_POISON) !== 0n) return;
    throw new MigrationError('KERNEL_TOO_OLD', "this kernel can't poison pages (UFFDIO_POISON, from Linux 6.6 on)", {
      hint: "give it up with 'freeze': whoever comes to a missing page waits, until the process is ended",
    });
  }

  get #isPaused(): boolean {
    const isPaused = this.#state.status === 'postcopy-paused' || this.#state.status === 'postcopy-recover';
    return isPaused && this.#firstError === undefined;
  }

  #requirePaused(): void {
    if (this.#state.status === 'postcopy-paused' && this.#firstError === undefined) return;
    throw new MigrationError('BAD_ARGUMENT', `the incoming migration is ${this.#state.status}, and not paused`, {
      hint: 'recover a migration whose status is postcopy-paused',
    });
  }

  #closeSocket(): void {
    if (this.#socket !== undefined) native().socketClose(this.#socket);
    this.#socket = undefined;
  }

  /** Before it was started here it fails the migration; after, its memory is all that is left, and comes whole. */
  #onGuestDeath(death: MigrationError): void {
    if (this.#signals.get('GUEST') === GuestPhase.HERE) {
      this.#death = death;
      return;
    }
    this.#signals.set('GUEST', GuestPhase.DIED);
    this.#abandonGuest(death);
    this.#failing(death);
  }

  #deathWithAllHere(): MigrationError | undefined {
    if (this.#death === undefined) return undefined;
    return new MigrationError('GUEST_FAILED', `${this.#death.message}, here at the destination; its memory is whole`, {
      hint: 'see the cause, which comes from the guest; what its RAM blocks hold can be read',
      cause: this.#death.cause,
    });
  }

  async #ramBlocks(
    entries: readonly RamBlockEntry[],
    machine: Machine | undefined,
  ): Promise<readonly RAMBlockDescriptor[]> {
    const guest = await this.#made(entries, machine);
    await requireAlive(guest);
    this.#guest = guest;
    this.#unwatchGuest = watchForDeath(guest, (death) => this.#onGuestDeath(death));
    this.#trace.name({ block: guest.ramBlocks.map(({ idstr }) => idstr) });
    this.#blocks = guest.ramBlocks.map(({ descriptor }) => descriptor);
    return this.#blocks;
  }

  #made(entries: readonly RamBlockEntry[], machine: Machine | undefined): Promise<Guest> {
    const guest = this.#guestFor(entries, machine);
    guest.catch(() => {}); // also where it comes too late
    return withinLimit(
      'come into being',
      Promise.race([guest, this.#guestCallsAbandoned]),
      this.#options.guestTimeoutMs,
    );
  }

  async #guestFor(entries: readonly RamBlockEntry[], machine: Machine | undefined): Promise<Guest> {
    const given = this.#guestOrFactory;
    if (machine !== undefined && 'receive' in given) return given.receive(machine, entries);
    if (typeof given === 'function') return given(entries);
    if ('receive' in given) throw new MigrationError('ILLEGAL_COMMAND', 'the source announced RAM before its machine');
    return given;
  }

  #openUserfaultfd(blocks: readonly RAMBlockDescriptor[]): UserfaultfdHandle {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    this.#uffd = openForPostcopy(blocks, this.#guest?.faultsInKernel, ahead);
    return this.#uffd.handle;
  }

  /** The stream belongs, or belonged, to the listen thread. */
  get #listens(): boolean {
    return this.#signals.get('LISTEN') === Handed.YES;
  }

  /** Handed over in postcopy: the source never runs the guest again. In doubt it is so. */
  get #isHandedOver(): boolean {
    const handover = this.#signals.get('HANDOVER');
    return this.#listens && handover !== Handover.ASKED && handover !== Handover.REFUSED;
  }

  async #loadGuest(state: Uint8Array, vmDescription: string | undefined): Promise<void> {
    const guest = this.#requireGuest();
    await this.#ask('take over its device state', () => guest.loadDeviceState(state, vmDescription));
  }

  async #takeOverGuest(ran: boolean): Promise<void> {
    const guest = this.#requireGuest();
    if (this.#firstError !== undefined) throw this.#firstError;
    if (ran) await this.#start(guest);
    this.#signals.set('GUEST', GuestPhase.HERE);
    this.#blocktime?.setVcpus(guest.vcpuThreads ?? []);
  }

  /** One that refuses stands still. One that does not answer may start yet, and the source must not run it again. */
  #start(guest: Guest): Promise<void> {
    this.#signals.set('GUEST', GuestPhase.ASKED);
    return this.#ask('start', async () => {
      try {
        await guest.start();
      } catch (refusal) {
        this.#signals.exchange('GUEST', GuestPhase.ASKED, GuestPhase.STOPPED);
        throw refusal;
      }
    });
  }

  /**
   * Throws GUEST_FAILED; or the error of a migration that fails meanwhile, which does not wait for the guest. The
   * guest may touch pages that are still to come, and no time in which one may be missing counts against it.
   */
  async #ask(what: string, ask: () => Promise<void>): Promise<void> {
    const answer = (async () => ask())();
    answer.catch(() => {}); // also where it comes too late
    try {
      await withinLimit(
        what,
        Promise.race([answer, this.#guestCallsAbandoned]),
        this.#options.guestTimeoutMs,
        this.#listens ? this.#allHere : undefined,
      );
    } catch (cause) {
      throw cause instanceof MigrationError ? cause : guestFailed(what, cause);
    }
  }

  #requireGuest(): Guest {
    if (this.#guest === undefined)
      throw new MigrationError('ILLEGAL_COMMAND', 'the source sent the guest before its RAM blocks');
    return this.#guest;
  }

  #cleanUp(error: Error | undefined): void {
    clearTimeout(this.#patience);
    this.#unwatchGuest();
    this.#trace.close();
    this.#listener.close();
    this.#recoverAt?.close();
    this.#closeSocket();
    this.#demandSockets.close();
    if (this.#ahead !== undefined) native().userfaultfdClose(this.#ahead.opened.handle);
    const isHere = this.#isHandedOver || this.#signals.get('GUEST') === GuestPhase.HERE;
    if (error !== undefined && isHere) this.#lost = this.#assessLoss(error);
    // Who waits for a missing page, or comes to one, must go on waiting: let go of, they would read as zeroes.
    if ((this.#lost?.missingPages ?? 0) === 0 || this.#isPoisoned) this.#letGoOfMemory();
  }

  /** The source never runs it again. Undefined if it is whole here, and runs or may be started. */
  #assessLoss({ message }: Error): GuestLoss | undefined {
    const missingPages = this.#received.reduce((sum, pages) => sum + pages.pageCount - pages.count(), 0);
    const hasRun = this.#signals.get('GUEST') === GuestPhase.HERE || this.#guest?.running === true;
    const isAlive = this.#death === undefined;
    if (missingPages === 0 && hasRun && isAlive) return undefined;
    return { missingPages, isPoisoned: this.#isPoisoned, hasRun, reason: message };
  }

  #letGoOfMemory(): void {
    if (this.#uffd !== undefined) native().userfaultfdClose(this.#uffd.handle);
    this.#uffd = undefined;
    restoreMemory(this.#signals, this.#blocks, this.#memoryBefore);
  }

  #setStatus(status: IncomingStatus): void {
    this.#state.move(status);
    this.emit('status', status);
  }
}

/** Whoever waits for a connection there finds that nobody listens any more. */
function stopListening(listener: Listener): void {
  try {
    native().socketShutdown(listener.socket);
  } catch (error) {
    if ((error as NativeError).code !== 'EBADF') throw error; // closed already
  }
  listener.close();
}

function pausedHere(cause: MigrationError): MigrationError {
  return new MigrationError('CANCELLED', 'the migration was paused here', {
    hint: 'recover it at both sides, or give it up',
    cause,
  });
}
