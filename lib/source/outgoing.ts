/**
 * The outgoing migration as its owner sees it: starts the threads in order (S1 to S3), does for the
 * guest what they ask, and cleans up when they have ended (S12). Lives in the thread of its caller.
 */
import { EventEmitter } from 'node:events';
import { fromPlainError, MigrationError } from '../errors.js';
import type { Guest, Machine } from '../memory/guest.js';
import type { RAMBlock } from '../memory/ram-block.js';
import { RAMList } from '../memory/ram-list.js';
import type { WriteLogDescriptor } from '../memory/write-log.js';
import { native, type SocketHandle } from '../native.js';
import { type Capabilities, opensReturnPath, type Parameters, resolveParameters } from '../options.js';
import { startThread, type Thread } from '../threads/thread.js';
import { TraceSession } from '../trace/trace-session.js';
import { GuestCalls } from './guest-calls.js';
import { LiveParameters } from './live-parameters.js';
import {
  isCancellable,
  isFinal,
  isSetupOrActive,
  MigrationStateCell,
  type MigrationStatus,
  migrationStatuses,
} from './migration-state.js';
import type { MigrationThreadResult } from './migration-thread.js';
import { type OutgoingInfo, outgoingInfo } from './outgoing-info.js';
import { PageRequestQueue } from './page-request-queue.js';
import type { ReturnPathThreadData } from './return-path-thread.js';
import type { DirtyTracking, MigrationThreadData, SourceEvent, SourceOwnerCalls } from './source-context.js';
import { createSourceCounters } from './source-counters.js';
import { Begin, createSourceSignals, ReturnPathPhase } from './source-signals.js';

export interface OutgoingOptions {
  readonly capabilities: Capabilities;
  readonly parameters: Parameters;
  readonly postcopyAfterPasses: number | undefined;
  /** Milliseconds that the guest may take for each thing it is asked; 0 is no limit. */
  readonly guestTimeoutMs: number;
}

/** Run states under QEMU's names, as far as a migration is concerned. */
export type GuestRunState = 'running' | 'paused' | 'finish-migrate' | 'postmigrate';

export interface OutgoingEvents {
  status: [status: MigrationStatus];
  /** So many whole passes over RAM are done. */
  pass: [passes: number];
  /** Auto-converge holds the guest back for that percentage of the time. */
  throttle: [percent: number];
  /** Something is not as it was asked for, and the migration goes on without; or went wrong when it had completed. */
  warning: [warning: Error];
}

/** Milliseconds for the destination's last word to come when the stream has broken. */
const LAST_WORD_MS = 1000;

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
  readonly #socket: SocketHandle;
  readonly #options: OutgoingOptions;
  readonly #peer: string;
  readonly #state = new MigrationStateCell();
  readonly #signals = createSourceSignals();
  readonly #counters = createSourceCounters();
  readonly #parameters = new LiveParameters();
  readonly #queue = new PageRequestQueue();
  readonly #startUs = native().monotonicUs();
  /** The package has gone out. */
  readonly #switched = settleable();
  readonly #trace: TraceSession;
  #returnPathThread: Thread<void> | undefined;
  #migrationThread: Thread<MigrationThreadResult> | undefined;
  #dirtyTracking: DirtyTracking = 'none';
  #totalTimeMs: number | undefined;
  #error: Error | undefined;

  /** Resolved when completed; rejected with a MigrationError when failed or cancelled. Everything is gone by then. */
  readonly finished: Promise<OutgoingInfo>;

  /** Takes over `socket`. `peer` names the other end in messages; `traceWords` are a test's, with a breakpoint set. */
  constructor(
    guest: Guest,
    socket: SocketHandle,
    peer: string,
    options: OutgoingOptions,
    traceWords?: SharedArrayBuffer,
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
    this.#socket = socket;
    this.#peer = peer;
    this.#options = options;
    this.#parameters.set(options.parameters);
    const block = guest.ramBlocks.map(({ idstr }) => idstr);
    this.#trace = new TraceSession('source', 'owner', { block, status: migrationStatuses }, traceWords);
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
      counters: this.#counters.snapshot(),
      hasEnded: this.#totalTimeMs !== undefined,
      totalBytes: this.#ram.size,
      downtimeLimit: this.#parameters.get('downtimeLimit'),
    });
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
    this.#error = await this.#closeReturnPath(this.#error);
    native().socketClose(this.#socket);
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
      const { ended } = await this.#begin();
      const outcome = await ended;
      if (outcome.kind === 'failed') return outcome.error;
      if (outcome.kind === 'returned' && outcome.result.error !== undefined)
        return fromPlainError(outcome.result.error);
      return this.status === 'completed' ? undefined : (this.#guest.death ?? cancelled());
    } catch (thrown) {
      return thrown as Error;
    }
  }

  /** S2 and S3: both threads start at once, and the migration thread begins when the return path is open. */
  async #begin(): Promise<Thread<MigrationThreadResult>> {
    const returnPath = this.#openReturnPath();
    returnPath.catch(() => {}); // awaited below
    const thread = this.#startMigrationThread();
    this.#migrationThread = thread;
    try {
      await returnPath;
      if (this.status === 'setup') {
        this.#trace.trace.at('migrate_fd_connect');
        this.#signals.set('BEGIN', Begin.NOW);
      }
      return thread;
    } finally {
      if (this.#signals.exchange('BEGIN', Begin.NOT_YET, Begin.NEVER)) await thread.ended;
    }
  }

  /**
   * Fails at once what is still this side's. Where the switch or the end has begun, the thread is told when it asks
   * for the guest the next time; a guest that was saved by then is not needed any more.
   */
  #onGuestDeath(death: MigrationError): void {
    for (let { status } = this; isCancellable(status); { status } = this) {
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

  /** S2. Throws where the thread does not start. */
  async #openReturnPath(): Promise<void> {
    if (!opensReturnPath(this.#options.capabilities)) return;
    this.#trace.trace.at('open_return_path_on_source');
    this.#signals.set('RETURN_PATH', ReturnPathPhase.OPEN);
    const thread = startThread<ReturnPathThreadData, void>({
      name: 'mig/src/rp',
      entry: new URL('./return-path-thread.js', import.meta.url),
      trace: this.#trace.open('mig/src/rp'),
      data: { ...this.#shared },
    });
    this.#returnPathThread = thread;
    void thread.ended.then((outcome) => {
      // It says itself how it ended, unless it never began or was torn down.
      if (this.#signals.exchange('RETURN_PATH', ReturnPathPhase.OPEN, ReturnPathPhase.BROKEN)) {
        this.#signals.bump('ATTENTION');
      }
      if (outcome.kind === 'failed') this.#guest.abandon(outcome.error);
    });
    await thread.ready;
    if (this.#signals.get('RETURN_PATH') === ReturnPathPhase.BROKEN) {
      const outcome = await thread.ended;
      if (outcome.kind === 'failed') throw outcome.error;
    }
    this.#trace.trace.at('open_return_path_on_source_continue');
  }

  /** S3. */
  #startMigrationThread(): Thread<MigrationThreadResult> {
    const calls: SourceOwnerCalls = {
      stopGuest: () => this.#guest.stop(),
      saveGuest: () => this.#guest.save(),
    };
    return startThread<MigrationThreadData, MigrationThreadResult, SourceEvent>({
      name: 'mig/src/main',
      entry: new URL('./migration-thread.js', import.meta.url),
      trace: this.#trace.open('mig/src/main'),
      data: {
        ...this.#shared,
        ...this.#options,
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
        this.emit('status', event.status);
        break;
      case 'tracking':
        this.#dirtyTracking = event.tracking;
        break;
      case 'pass':
        this.emit('pass', event.passes);
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

  /**
   * S12: waits for the return path thread. Where the stream broke, what the destination said last is
   * the better explanation, so it has a moment to arrive.
   */
  async #closeReturnPath(error: Error | undefined): Promise<Error | undefined> {
    this.#queue.close();
    const thread = this.#returnPathThread;
    if (thread === undefined) return error;
    if (this.status === 'completed') {
      await thread.ended;
      return error;
    }
    const broken = error instanceof MigrationError && error.code === 'PEER_GONE';
    const patience = setTimeout(() => thread.kick(), broken ? LAST_WORD_MS : 0);
    const outcome = await thread.ended;
    clearTimeout(patience);
    if (outcome.kind !== 'failed') return error;
    const lastWord = outcome.error;
    const isVague = error instanceof MigrationError && (error.code === 'PEER_GONE' || error.code === 'PEER_FAILED');
    const explains = !(lastWord instanceof MigrationError && lastWord.code === 'PEER_GONE');
    return error === undefined || (isVague && explains) ? lastWord : error;
  }

  /** What all threads need. */
  get #shared(): ReturnPathThreadData {
    return {
      channel: { socket: this.#socket, peer: this.#peer },
      blocks: this.#ram.blocks.map(({ descriptor }) => descriptor),
      status: this.#state.buffer,
      signals: this.#signals.buffer,
      counters: this.#counters.buffer,
      queue: this.#queue.buffer,
    };
  }
}
