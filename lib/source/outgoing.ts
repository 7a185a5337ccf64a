/**
 * The outgoing migration as its owner sees it: has the threads begin in order (S1 to S3), does for the
 * guest what they ask, gives them another connection when one is lost in postcopy (S13), and cleans up when they have
 * ended (S12). Lives in the thread of its caller.
 */
import { EventEmitter } from 'node:events';
import type { ChannelDescriptor } from '../channel/channel.js';
import { fromPlainError, MigrationError, type PlainError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import type { Guest, Machine } from '../memory/guest.js';
import { pageCount, pageOffset } from '../memory/page.js';
import type { RAMBlock } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import type { WriteLogDescriptor } from '../memory/write-log.js';
import { native, type SocketHandle } from '../native.js';
import { type Capabilities, opensReturnPath, type Parameters, resolveParameters } from '../options.js';
import { FairLock } from '../threads/fair-lock.js';
import { startThread, type Thread, type ThreadWork } from '../threads/thread.js';
import type { TraceDescriptor } from '../trace/trace.js';
import { TraceSession } from '../trace/trace-session.js';
import { type DirtyWindow, fitDirtyCurve } from './dirty-curve.js';
import { type Forecast, forecast } from './forecast.js';
import { GuestCalls } from './guest-calls.js';
import { createLane, createLaneWords, type LaneDescriptor } from './lane.js';
import type { LaneThreadData } from './lane-thread.js';
import { LiveParameters } from './live-parameters.js';
import {
  isCancellable,
  isFinal,
  isPaused,
  isSetupOrActive,
  MigrationStateCell,
  type MigrationStatus,
  migrationStatuses,
} from './migration-state.js';
import type { MigrationThreadResult } from './migration-thread.js';
import { type OutgoingInfo, outgoingInfo } from './outgoing-info.js';
import { outgoingMachine } from './outgoing-machine.js';
import { PageRequestQueue } from './page-request-queue.js';
import { Pause } from './pause.js';
import { PeerWatch } from './peer-watch.js';
import type { ReturnPathEvent, ReturnPathThreadData } from './return-path-thread.js';
import { SourceBitmaps } from './source-bitmaps.js';
import { SourceConnection } from './source-connection.js';
import type { DirtyTracking, SourceEvent, SourceOwnerCalls } from './source-context.js';
import { createSourceCounters, sumOfCounters } from './source-counters.js';
import { createSourceSignals, NO_LANES, Resume } from './source-signals.js';
import { returnPathIdentity, SourceThreads } from './source-threads.js';

export interface OutgoingOptions {
  readonly capabilities: Capabilities;
  readonly parameters: Parameters;
  readonly postcopyAfterPasses: number | undefined;
  /** Milliseconds that the guest may take for each thing it is asked; 0 is no limit. */
  readonly guestTimeoutMs: number;
  /** Milliseconds of silence after which the destination is taken to be gone; 0 is never. */
  readonly peerTimeoutMs: number;
  /** When the preempt channel is opened; absent: as a QEMU of the machine's release does. */
  readonly preemptChannel?: 'setup' | 'switch' | undefined;
  /** The most lanes that a destination of ours is asked to take; 0 is none. */
  readonly lanes: number;
}

/** Makes a connection to a destination. */
export type Connect = (uri: string) => Promise<SocketHandle>;

/** Run states under QEMU's names, as far as a migration is concerned. */
export type GuestRunState = 'running' | 'paused' | 'finish-migrate' | 'postmigrate';

export interface OutgoingEvents {
  status: [status: MigrationStatus];
  /** So many whole passes over RAM are done. */
  pass: [passes: number];
  /** A ping of a step was sent, or its pong has come, at that moment of CLOCK_MONOTONIC in µs. */
  ping: [value: number, atUs: number];
  pong: [value: number, atUs: number];
  /** Auto-converge holds the guest back for that percentage of the time. */
  throttle: [percent: number];
  /** Something is not as it was asked for, and the migration goes on without; or went wrong when it had completed. */
  warning: [warning: Error];
}

/** With so many the windows of passes alone tell how the guest writes; the one at the beginning is none. */
const SYNCS_ENOUGH = 4;

/** Pages of one RAM block, as the source knows of them. */
export interface SentPages {
  readonly idstr: string;
  /** Still to be sent; from the status `active` on. */
  readonly dirty: PageBitmap;
  /** The destination has asked for them. */
  readonly asked: PageBitmap;
}

function cancelled(): MigrationError {
  return new MigrationError('CANCELLED', 'the migration was cancelled');
}

function settleable(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

export class OutgoingMigration extends EventEmitter<OutgoingEvents> {
  readonly #guest: GuestCalls;
  readonly #ram: RAMList<RAMBlock>;
  readonly #machine: Machine | undefined;
  readonly #writeLog: WriteLogDescriptor | undefined;
  readonly #guestIsRunning: () => boolean;
  readonly #options: OutgoingOptions;
  readonly #connect: Connect;
  readonly #threads: SourceThreads;
  readonly #state = new MigrationStateCell();
  readonly #signals = createSourceSignals();
  readonly #counters = createSourceCounters();
  readonly #parameters = new LiveParameters();
  readonly #queue = new PageRequestQueue();
  readonly #bitmaps: SourceBitmaps;
  readonly #urgentLock = new FairLock();
  readonly #lanes: readonly LaneDescriptor[];
  readonly #watch: PeerWatch;
  readonly #returnPathTrace: TraceDescriptor;
  readonly #laneTraces: TraceDescriptor[] = [];
  /** Of the first connection. */
  #lanesOpening: Promise<void> | undefined;
  readonly #startUs = native().monotonicUs();
  /** The package has gone out. */
  readonly #switched = settleable();
  readonly #trace: TraceSession;
  /** Where the destination is, or was last. */
  #uri: string;
  #connection: SourceConnection;
  #pause: Pause | undefined;
  /** Why the connection was broken here. */
  #breakReason: MigrationError | undefined;
  #givenUp: MigrationError | undefined;
  #migrationThread: Thread<MigrationThreadResult> | undefined;
  #dirtyTracking: DirtyTracking = 'none';
  #totalTimeMs: number | undefined;
  #error: Error | undefined;

  /** Resolved when completed; rejected with a MigrationError when failed or cancelled. Everything is gone by then. */
  readonly finished: Promise<OutgoingInfo>;

  /**
   * Takes over `socket`, which is connected to `uri`, and `threads`. `connect` makes further connections; `traceWords`
   * are a test's, with a breakpoint set.
   */
  constructor(
    guest: Guest,
    socket: SocketHandle,
    uri: string,
    options: OutgoingOptions,
    connect: Connect,
    traceWords?: SharedArrayBuffer,
    threads = SourceThreads.start(),
  ) {
    super();
    this.#guest = new GuestCalls(guest, {
      limitMs: options.guestTimeoutMs,
      onDeath: (death) => this.#onGuestDeath(death),
      onLateFailure: (error) => this.emit('warning', error),
    });
    this.#ram = new RAMList(guest.ramBlocks);
    this.#machine = guest.machine;
    this.#writeLog = guest.writeLog;
    this.#guestIsRunning = () => guest.running;
    this.#uri = uri;
    this.#options = options;
    this.#connect = connect;
    this.#lanes = Array.from({ length: this.#asksLanes ? options.lanes : 0 }, createLane);
    this.#threads = threads;
    this.#connection = this.#connectionOf(socket, uri);
    this.#bitmaps = new SourceBitmaps(guest.ramBlocks.map(({ size }) => size));
    this.#watch = new PeerWatch(this.#signals, options.peerTimeoutMs, () => this.#onSilence());
    this.#parameters.set(options.parameters);
    const block = guest.ramBlocks.map(({ idstr }) => idstr);
    this.#trace = new TraceSession('source', 'owner', { block, status: migrationStatuses }, traceWords);
    this.#returnPathTrace = this.#trace.open('mig/src/rp');
    this.#state.move('none', 'setup');
    this.finished = this.#run();
    this.finished.catch(() => {}); // whoever cares awaits it; nobody must
  }

  get status(): MigrationStatus {
    return this.#state.status;
  }

  /** Where its threads trace, and a test has them fail or wait. */
  get traceWords(): SharedArrayBuffer {
    return this.#trace.words;
  }

  /** Once the migration has ended with this true, the destination has the guest, and it must never run here again. */
  get handedOver(): boolean {
    return this.#signals.get('HANDED_OVER') === 1;
  }

  /** The guest at this side, under the names of QEMU's run states. */
  get runState(): GuestRunState {
    if (isFinal(this.status) && this.handedOver) return 'postmigrate';
    if (this.#guest.isStopped) return 'finish-migrate';
    return this.#guestIsRunning() ? 'running' : 'paused';
  }

  /** How it stands now, or how it ended. */
  info(): OutgoingInfo {
    return outgoingInfo({
      status: this.status,
      totalTime: this.#totalTimeMs ?? (native().monotonicUs() - this.#startUs) / 1000,
      cpuThrottlePercentage: this.#guest.throttlePercent || undefined,
      errorDesc: this.status === 'failed' ? this.#error?.message : undefined,
      dirtyTracking: this.#dirtyTracking,
      counters: sumOfCounters(
        this.#counters,
        this.#lanes.map(({ counters }) => createSourceCounters(counters)),
      ),
      hasEnded: this.#totalTimeMs !== undefined,
      totalBytes: this.#ram.size,
      downtimeLimit: this.#parameters.get('downtimeLimit'),
    });
  }

  /**
   * While a precopy goes on: when it would end, or that it never will, and what would help. From how the guest has
   * written in the last seconds and how fast it is sent; undefined in the first second or so, and in another status.
   * For memory that is not anonymous, or a log of KVM's, only after some passes.
   */
  forecast(): Forecast | undefined {
    const { steadyBandwidth, remainingPages, dirtySyncCount, ...c } = this.#counters.snapshot();
    if (this.status !== 'active' || this.#dirtyTracking === 'none' || steadyBandwidth === 0) return undefined;
    const windows: readonly DirtyWindow[] = [
      { ms: c.shortWindowMs, pages: c.shortWindowPages },
      { ms: c.longWindowMs, pages: c.longWindowPages },
    ];
    if (windows.some(({ ms }) => ms === 0) && dirtySyncCount < SYNCS_ENOUGH) return undefined;
    const total = this.#ram.size;
    const curve = fitDirtyCurve(windows, pageCount(total));
    if (curve === undefined) return undefined;
    const downtimeLimit = this.#parameters.get('downtimeLimit');
    const remaining = pageOffset(remainingPages);
    return forecast({ curve, bandwidth: steadyBandwidth, downtimeLimit, remaining, total });
  }

  /**
   * Changes parameters while it runs, from now on: the limits of bandwidth and downtime. Throws BAD_ARGUMENT for an
   * unknown name or a value out of range. Those of auto-converge are taken when the migration begins.
   */
  setParameters(parameters: Partial<Parameters>): void {
    this.#parameters.set(resolveParameters(parameters, this.#parameters.all()));
    this.#signals.bump('ATTENTION');
  }

  /**
   * Asks for the switch to postcopy; resolved once the destination has all it needs to run the guest. Rejects with
   * BAD_ARGUMENT without the capability, or with the migration's error where it never comes to it
   * (a precopy that completes first resolves too: the guest runs there).
   */
  async startPostcopy(): Promise<void> {
    if (!this.#options.capabilities.postcopyRam) {
      throw new MigrationError('BAD_ARGUMENT', 'the capability postcopyRam is off', {
        hint: 'start both sides with capabilities: { postcopyRam: true }',
      });
    }
    this.#signals.set('START_POSTCOPY', 1);
    this.#signals.bump('ATTENTION');
    await Promise.race([this.#switched.promise, this.finished]);
  }

  /** Why it is paused, in postcopy-paused and while it is tried to recover. */
  get pauseReason(): MigrationError | undefined {
    return this.#pause?.reason;
  }

  /** In postcopy-active: breaks the connection, as a lost network does, so that both sides pause. Else false. */
  pause(): boolean {
    if (this.status !== 'postcopy-active') return false;
    this.#breakReason = new MigrationError('PEER_GONE', 'the migration was paused here', { hint: 'recover it' });
    this.#connection.break();
    return true;
  }

  /** Whether the destination is known to have every page: only its last word is to come, {@link giveUp} completes. */
  get hasPlacedAll(): boolean {
    return this.#signals.get('ALL_PLACED') === 1;
  }

  /**
   * In postcopy-paused: connects to the destination, which listens at `uri` again, and goes on where it stopped.
   * Resolved in postcopy-active; else rejects with the reason, and it is paused as before, or has ended: BAD_ARGUMENT
   * where it is not paused, BAD_URI, CONNECT_REFUSED, CONNECT_FAILED, TIMEOUT, or what broke the new connection.
   */
  async recover(uri: string): Promise<void> {
    const pause = this.#pause;
    if (pause === undefined || !this.#state.move('postcopy-paused', 'postcopy-recover-setup')) {
      throw new MigrationError('BAD_ARGUMENT', `a migration in status ${this.status} has nothing to recover from`, {
        hint: 'recover it in postcopy-paused',
      });
    }
    this.#announce('postcopy-recover-setup');
    try {
      this.#connection = await this.#reconnect(uri);
      this.#uri = uri;
    } catch (reason) {
      if (this.#state.move('postcopy-recover-setup', 'postcopy-paused')) this.#announce('postcopy-paused');
      throw reason;
    }
    await pause.goOn(this.#connection.channel);
  }

  /**
   * While it is paused or recovers: ends it for good. False in any other status. Where the destination is known to
   * have every page it has completed, with a `warning`; else failed, with RECOVERY_GIVEN_UP: {@link remainder} tells
   * which pages may be missing.
   */
  giveUp(): boolean {
    const pause = this.#pause;
    const outcome = this.hasPlacedAll ? 'completed' : 'failed';
    let { status } = this;
    while (isPaused(status) && !this.#state.move(status, outcome)) ({ status } = this);
    if (pause === undefined || !isPaused(status)) return false;
    if (outcome === 'completed') this.#announce(outcome);
    this.#givenUp = new MigrationError('RECOVERY_GIVEN_UP', `the recovery was given up: ${pause.reason.message}`, {
      cause: pause.reason,
    });
    this.#connection.break();
    pause.end(this.#givenUp);
    this.#signals.bump('ATTENTION');
    return true;
  }

  /**
   * By block, the target pages that the destination may not have, once it was handed over: what was still to be sent
   * at the switch, less what it said since that it had. Its memory here is whole, and stays as it was then.
   */
  remainder(): readonly PageBitmap[] {
    return this.#bitmaps.unconfirmed;
  }

  /** The RAM blocks, and what is known of their pages; changes while the migration goes on. */
  get watchedPages(): readonly SentPages[] {
    const { dirty, asked } = this.#bitmaps;
    return this.#ram.blocks.map(({ idstr }, index) => ({ idstr, dirty: dirty[index], asked: asked[index] }));
  }

  /**
   * Ends it; the guest runs on here. False where it is too late for that: once the switch to postcopy has begun
   * or the end of a precopy is going out, and when it has ended. True again while it is being cancelled.
   */
  cancel(): boolean {
    this.#trace.trace.at('migrate_fd_cancel');
    for (let { status } = this; status !== 'cancelling'; { status } = this) {
      if (!isCancellable(status)) return false;
      if (!this.#state.move(status, 'cancelling')) continue;
      this.#guest.abandon(cancelled());
      this.#signals.bump('ATTENTION');
      this.#migrationThread?.kick();
      this.emit('status', 'cancelling');
    }
    return true;
  }

  async #run(): Promise<OutgoingInfo> {
    try {
      this.#error = await this.#send();
      if (this.status !== 'completed') await this.#runOn();
      this.#trace.trace.at('migrate_fd_cleanup');
    } catch (thrown) {
      this.#error ??= thrown as Error;
    }
    this.#guest.close();
    this.#watch.close();
    if (this.#error !== undefined) this.#pause?.end(this.#error); // whoever recovers it just now
    this.#error = await this.#closeConnection(this.#error);
    this.#totalTimeMs = (native().monotonicUs() - this.#startUs) / 1000;
    try {
      this.#announceEnd();
    } finally {
      this.#trace.close();
    }
    if (this.#error !== undefined) throw this.#error;
    return this.info();
  }

  #announceEnd(): void {
    if (this.status === 'cancelling' && this.#state.move('cancelling', 'cancelled')) this.#announce('cancelled');
    if (this.status !== 'completed' || this.#error === undefined) return;
    // The guest has gone over whole, whatever went wrong in tidying up.
    const warning = this.#error;
    this.#error = undefined;
    this.emit('warning', warning);
  }

  /** S2 to S10: what ended it early, or undefined. */
  async #send(): Promise<Error | undefined> {
    try {
      const outcome = await (await this.#begin())?.ended;
      if (outcome?.kind === 'failed') return outcome.error;
      if (outcome?.kind === 'returned' && outcome.result.error !== undefined)
        return fromPlainError(outcome.result.error);
      if (this.status === 'completed') return this.#givenUp?.cause as Error | undefined; // what becomes a warning
      return this.#givenUp ?? this.#guest.death ?? cancelled();
    } catch (thrown) {
      return thrown as Error;
    }
  }

  /** S2 and S3; undefined where it has been ended by then. What has no work then will have none. */
  async #begin(): Promise<Thread<MigrationThreadResult> | undefined> {
    try {
      await this.#openChannels();
      if (this.status !== 'setup') return undefined;
      this.#trace.trace.at('migrate_fd_connect');
      this.#migrationThread = this.#beginMigrationThread();
      return this.#migrationThread;
    } finally {
      await this.#threads.close();
    }
  }

  /**
   * Fails at once what is still this side's. Where the switch or the end has begun, the thread is told when it asks
   * for the guest the next time; a guest that was saved by then is not needed any more.
   */
  #onGuestDeath(death: MigrationError): void {
    // While it is handed over it has been saved, and is not needed any more.
    for (let { status } = this; isCancellable(status) && status !== 'postcopy-device'; { status } = this) {
      if (!this.#state.move(status, 'failed')) continue;
      this.#error = death;
      this.#signals.bump('ATTENTION');
      this.#migrationThread?.kick();
    }
  }

  /** S11, where it was not completed: failed, unless cancelled; the guest runs on here if it still may. */
  async #runOn(): Promise<void> {
    const { status } = this;
    if (status === 'cancelling') this.#error = cancelled();
    if (isSetupOrActive(status)) this.#state.move(status, 'failed');
    try {
      this.#guest.throttle(0);
      if (!this.handedOver) await this.#guest.resume();
    } catch (cause) {
      const text = `${(cause as Error).message}; the migration had ended before: ${this.#error?.message}`;
      this.#error = new MigrationError('GUEST_FAILED', text, { cause });
    }
    if (this.status === 'failed') this.#announce('failed');
  }

  /** The state is that now. */
  #announce(status: MigrationStatus): void {
    this.emit('status', status);
    this.#trace.trace.at('migrate_set_state', migrationStatuses.indexOf(status));
  }

  /** S2, and where the preempt channel is one of the set-up, that. Throws where the thread does not start. */
  async #openChannels(): Promise<void> {
    if (!opensReturnPath(this.#options.capabilities)) return;
    if (this.#options.capabilities.postcopyPreempt && this.#preemptChannel === 'setup')
      await this.#openPreemptChannel();
    await this.#openReturnPath(this.#connection, false);
  }

  async #openReturnPath(connection: SourceConnection, isRecovery: boolean): Promise<void> {
    this.#trace.trace.at('open_return_path_on_source');
    const work: ThreadWork<ReturnPathThreadData, ReturnPathEvent> = {
      trace: this.#returnPathTrace,
      data: { ...this.#shared, channel: connection.channel, isRecovery, lanes: this.#lanes.length },
      onEvent: (event) => {
        if (event.kind === 'pong') this.emit('pong', event.value, event.atUs);
        else this.#lanesOpening = this.#openLanes(connection, this.#uri, event.lanes, false);
      },
    };
    const start = () =>
      isRecovery
        ? startThread<ReturnPathThreadData, void, ReturnPathEvent>({ ...returnPathIdentity, ...work })
        : this.#threads.beginReturnPath(work);
    await connection.openReturnPath(start, (error) => this.#guest.abandon(error));
    this.#trace.trace.at('open_return_path_on_source_continue');
  }

  async #openPreemptChannel(): Promise<void> {
    const { peerTimeoutMs } = this.#options;
    this.#connection.addPreemptChannel(await this.#connect(this.#uri), peerTimeoutMs);
  }

  /** A pong for lanes has come. Where they can't be had the migration goes on without. Never rejects. */
  async #openLanes(connection: SourceConnection, uri: string, count: number, isRecovery: boolean): Promise<void> {
    let open = NO_LANES;
    try {
      const sockets = [...(await this.#connectAll(uri, count))];
      const threads: Thread<void>[] = [];
      try {
        for (const socket of sockets) threads.push(this.#startLane(connection, socket, threads.length, isRecovery));
      } finally {
        for (const socket of sockets.slice(threads.length)) native().socketClose(socket);
      }
      await Promise.all(threads.map(({ ready }) => ready));
      open = count;
    } catch (cause) {
      const why = `no lanes to ${connection.channel.peer} (${(cause as Error).message})`;
      const text = `${why}: pages are asked for over the main connection`;
      this.emit('warning', new MigrationError('CONNECT_FAILED', text, { cause }));
    }
    this.#signals.set('LANES_OPEN', open);
    this.#signals.bump('ATTENTION');
  }

  /** All of them or none. */
  async #connectAll(uri: string, count: number): Promise<readonly SocketHandle[]> {
    const tried = await Promise.allSettled(Array.from({ length: count }, () => this.#connect(uri)));
    const sockets = tried.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
    const failed = tried.find((each) => each.status === 'rejected');
    if (failed === undefined) return sockets;
    for (const socket of sockets) native().socketClose(socket);
    throw failed.reason;
  }

  #startLane(connection: SourceConnection, socket: SocketHandle, index: number, isRecovery: boolean): Thread<void> {
    const { words, counters, urgentLock } = this.#lanes[index];
    const name = `mig/src/lane${index}`;
    this.#laneTraces[index] ??= this.#trace.open(name);
    const thread = startThread<LaneThreadData, void>({
      name,
      urgent: true,
      entry: new URL('./lane-thread.bundle.cjs', import.meta.url),
      trace: this.#laneTraces[index],
      data: {
        ...this.#shared,
        channel: { socket, peer: connection.channel.peer },
        counters,
        urgentLock,
        isRecovery,
      },
    });
    connection.addLane({ socket, thread, words: createLaneWords(words) }, this.#options.peerTimeoutMs);
    return thread;
  }

  #connectionOf(socket: SocketHandle, uri: string): SourceConnection {
    return new SourceConnection(socket, `the destination at ${uri}`, this.#options.peerTimeoutMs, this.#signals);
  }

  get #preemptChannel(): 'setup' | 'switch' {
    const { preemptChannel, lanes } = this.#options;
    // With lanes there may be no need of one, which is known by the switch.
    const isLate = outgoingMachine(this.#machine).preemptsAtSwitch || (lanes > 0 && this.#machine === undefined);
    return preemptChannel ?? (isLate ? 'switch' : 'setup');
  }

  /** A destination that expects a preempt channel in the set-up gets that. */
  get #asksLanes(): boolean {
    const { postcopyRam, postcopyPreempt } = this.#options.capabilities;
    return postcopyRam && !(postcopyPreempt && this.#preemptChannel === 'setup');
  }

  /** S3. */
  #beginMigrationThread(): Thread<MigrationThreadResult> {
    const calls: SourceOwnerCalls = {
      stopGuest: () => this.#guest.stop(),
      saveGuest: () => this.#guest.save(),
      openPreemptChannel: () => this.#openPreemptChannel(),
      awaitRecovery: (reason) => this.#awaitRecovery(reason),
    };
    return this.#threads.beginMigration({
      trace: this.#trace.open('mig/src/main'),
      data: {
        ...this.#shared,
        ...this.#options,
        channel: this.#connection.channel,
        lanes: this.#lanes,
        preemptChannel: this.#preemptChannel,
        parameters: this.#parameters.buffer,
        machine: this.#machine,
        writeLog: this.#writeLog,
        guestRuns: this.#guestIsRunning(),
      },
      calls,
      onEvent: (event) => this.#onEvent(event),
    });
  }

  #onEvent(event: SourceEvent): void {
    switch (event.kind) {
      case 'status':
        if (event.status === 'postcopy-active') this.#recovered();
        this.emit('status', event.status);
        break;
      case 'tracking':
        this.#dirtyTracking = event.tracking;
        break;
      case 'pass':
        this.emit('pass', event.passes);
        break;
      case 'ping':
        this.emit('ping', event.value, event.atUs);
        break;
      case 'throttle':
        this.#throttle(event.percent);
        break;
      case 'warning':
        this.emit('warning', fromPlainError(event.warning));
        break;
      case 'switched':
        this.#switched.resolve();
    }
  }

  /** Told by the migration thread; the guest may have been stopped since. */
  #throttle(percent: number): void {
    if (this.#guest.isStopped || !isSetupOrActive(this.status)) return;
    try {
      this.#guest.throttle(percent);
      this.emit('throttle', percent);
    } catch (failure) {
      this.emit('warning', failure as Error);
    }
  }

  // --- pause and recovery (S13) ------------------------------------------------------------------

  /** Asked by the migration thread, which waits for the connection to go on with. */
  async #awaitRecovery(plain: PlainError): Promise<ChannelDescriptor> {
    const { status } = this;
    const tried = this.#pause;
    this.#connection.break();
    const lastWord = await this.#connection.close('ending');
    const seen = fromPlainError(plain);
    const reason = this.#breakReason ?? explanation(seen, lastWord) ?? seen;
    this.#breakReason = undefined;
    const pause = new Pause(reason as MigrationError);
    this.#pause = pause;
    tried?.end(reason);
    if (!this.#state.move(status, 'postcopy-paused')) throw this.#givenUp;
    this.#announce('postcopy-paused');
    return pause.channel;
  }

  /** Another connection, with all that belongs to it. */
  async #reconnect(uri: string): Promise<SourceConnection> {
    const connection = this.#connectionOf(await this.#connect(uri), uri);
    try {
      this.#signals.set('BITMAPS', 0);
      this.#signals.set('RESUME', Resume.NOT_YET);
      const { capabilities, peerTimeoutMs } = this.#options;
      const lanes = this.#signals.get('LANES');
      if (lanes > 0) await this.#openLanes(connection, uri, lanes, true);
      else if (capabilities.postcopyPreempt) connection.addPreemptChannel(await this.#connect(uri), peerTimeoutMs);
      await this.#openReturnPath(connection, true);
      if (this.#givenUp !== undefined) throw this.#givenUp;
      return connection;
    } catch (error) {
      connection.break();
      await connection.close('now');
      throw error;
    }
  }

  #recovered(): void {
    this.#pause?.recovered();
    this.#pause = undefined;
  }

  #onSilence(): void {
    const { peerTimeoutMs } = this.#options;
    const text = `${this.#connection.channel.peer} has given no sign of life for ${peerTimeoutMs / 1000} s`;
    this.#breakReason = new MigrationError('PEER_GONE', text);
    this.#connection.break();
  }

  /**
   * S12: waits for the return path thread. Where the stream broke, what the destination said last is
   * the better explanation, so it has a moment to arrive.
   */
  async #closeConnection(error: Error | undefined): Promise<Error | undefined> {
    this.#queue.close();
    await this.#lanesOpening; // what is opened is closed then, too
    if (this.status === 'completed') {
      await this.#connection.close('ending');
      return error;
    }
    const broken = error instanceof MigrationError && error.code === 'PEER_GONE';
    return explanation(error, await this.#connection.close(broken ? 'patient' : 'now'));
  }

  /** What all threads need. */
  get #shared(): Omit<ReturnPathThreadData, 'channel' | 'isRecovery' | 'lanes'> {
    return {
      blocks: this.#ram.blocks.map(({ descriptor }) => descriptor),
      status: this.#state.buffer,
      signals: this.#signals.buffer,
      counters: this.#counters.buffer,
      queue: this.#queue.buffer,
      bitmaps: this.#bitmaps.descriptor,
      urgentLock: this.#urgentLock.buffer,
    };
  }
}

/** The better one of what went wrong with the stream and what the return path thread ended with. */
function explanation(error: Error | undefined, lastWord: Error | undefined): Error | undefined {
  if (lastWord === undefined) return error;
  const isVague = error instanceof MigrationError && (error.code === 'PEER_GONE' || error.code === 'PEER_FAILED');
  const explains = !(lastWord instanceof MigrationError && lastWord.code === 'PEER_GONE');
  return error === undefined || (isVague && explains) ? lastWord : error;
}
