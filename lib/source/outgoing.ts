/**
 * The outgoing migration as its owner sees it: starts the threads in order (S1 to S3), does for the
 * guest what they ask, and cleans up when they have ended (S12). Lives in the thread of its caller.
 */
import { EventEmitter } from 'node:events';
import { fromPlainError, MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { RAMList } from '../memory/ram-list.js';
import { native, type SocketHandle } from '../native.js';
import type { Capabilities, Parameters } from '../options.js';
import { startThread, type Thread } from '../threads/thread.js';
import { TraceSession } from '../trace/trace-session.js';
import { isFinal, MigrationStateCell, type MigrationStatus, migrationStatuses } from './migration-state.js';
import type { MigrationThreadData, MigrationThreadResult, SourceEvent, SourceOwnerCalls } from './migration-thread.js';
import { PageRequestQueue } from './page-request-queue.js';
import type { ReturnPathThreadData } from './return-path-thread.js';
import { createSourceCounters } from './source-counters.js';
import { createSourceSignals, ReturnPathPhase } from './source-signals.js';

export interface OutgoingOptions {
  readonly capabilities: Capabilities;
  readonly parameters: Parameters;
  readonly postcopyAfterPasses: number | undefined;
}

/** RAM statistics under the names of QMP's MigrationStats. */
export interface RamInfo {
  /** Bytes on the stream, of every kind. */
  readonly transferred: number;
  /** Bytes of RAM still to be sent, at the last look. */
  readonly remaining: number;
  readonly total: number;
  /** Pages sent as "all zero", and with content. */
  readonly duplicate: number;
  readonly normal: number;
  readonly normalBytes: number;
  readonly dirtySyncCount: number;
  readonly postcopyRequests: number;
  readonly pageSize: number;
  readonly precopyBytes: number;
  readonly postcopyBytes: number;
  /** Throughput in Mbit/s, over the whole migration once it has ended. */
  readonly mbps: number;
}

/** The fields of query-migrate; times in milliseconds. */
export interface OutgoingInfo {
  readonly status: MigrationStatus;
  readonly totalTime: number;
  readonly setupTime: number;
  /** From the guest's stop to when the last byte it needs to start was sent; 0 until then. */
  readonly downtime: number;
  readonly ram: RamInfo;
}

export interface OutgoingEvents {
  status: [status: MigrationStatus];
  /** So many whole passes over RAM are done. */
  pass: [passes: number];
}

/** Milliseconds for the destination's last word to come when the stream has broken. */
const LAST_WORD_MS = 1000;

function settleable(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

export class OutgoingMigration extends EventEmitter<OutgoingEvents> {
  readonly #guest: Guest;
  readonly #socket: SocketHandle;
  readonly #options: OutgoingOptions;
  readonly #peer: string;
  readonly #state = new MigrationStateCell();
  readonly #signals = createSourceSignals();
  readonly #counters = createSourceCounters();
  readonly #queue = new PageRequestQueue();
  readonly #startUs = native().monotonicUs();
  /** The package has gone out. */
  readonly #switched = settleable();
  readonly #trace: TraceSession;
  #migrationThread: Thread<MigrationThreadResult> | undefined;
  #result: MigrationThreadResult | undefined;
  #totalTimeMs: number | undefined;

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
    this.#guest = guest;
    this.#socket = socket;
    this.#peer = peer;
    this.#options = options;
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

  /** Once true, the destination has the guest, and it must never run here again, however this ends. */
  get handedOver(): boolean {
    return this.#result?.handedOver ?? false;
  }

  /** How it stands now, or how it ended. */
  info(): OutgoingInfo {
    const c = this.#counters.snapshot();
    const totalTime = this.#totalTimeMs ?? (native().monotonicUs() - this.#startUs) / 1000;
    const { size } = new RAMList(this.#guest.ramBlocks);
    return {
      status: this.status,
      totalTime,
      setupTime: this.#result?.setupTimeMs ?? 0,
      downtime: this.#result?.downtimeMs ?? 0,
      ram: {
        transferred: c.transferred,
        remaining: c.remainingPages * TARGET_PAGE_SIZE,
        total: size,
        duplicate: c.duplicate,
        normal: c.normal,
        normalBytes: c.normal * TARGET_PAGE_SIZE,
        dirtySyncCount: c.dirtySyncCount,
        postcopyRequests: c.postcopyRequests,
        pageSize: TARGET_PAGE_SIZE,
        precopyBytes: c.precopyBytes,
        postcopyBytes: c.postcopyBytes,
        mbps: totalTime === 0 ? 0 : (c.transferred * 8) / totalTime / 1000,
      },
    };
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

  /** Ends it; the guest runs on here. False where it is too late: in postcopy the guest runs at the destination. */
  cancel(): boolean {
    const { status } = this;
    if ((status !== 'setup' && status !== 'active') || !this.#state.move(status, 'cancelling')) return false;
    this.emit('status', 'cancelling');
    this.#signals.bump('ATTENTION');
    this.#migrationThread?.kick();
    return true;
  }

  async #run(): Promise<OutgoingInfo> {
    try {
      const returnPath = await this.#openReturnPath();
      this.#migrationThread = this.#startMigrationThread();
      const outcome = await this.#migrationThread.ended;
      const error = await this.#closeReturnPath(returnPath, this.#errorOf(outcome));
      this.#totalTimeMs = (native().monotonicUs() - this.#startUs) / 1000;
      if (this.status === 'cancelled') throw new MigrationError('CANCELLED', 'the migration was cancelled');
      if (error !== undefined) throw error;
      return this.info();
    } finally {
      native().socketClose(this.#socket);
      this.#trace.close();
    }
  }

  /** S2. */
  async #openReturnPath(): Promise<Thread<void> | undefined> {
    if (!this.#options.capabilities.postcopyRam) return undefined;
    this.#signals.set('RETURN_PATH', ReturnPathPhase.OPEN);
    const thread = startThread<ReturnPathThreadData, void>({
      name: 'mig/src/rp',
      entry: new URL('./return-path-thread.js', import.meta.url),
      trace: this.#trace.open('mig/src/rp'),
      data: {
        channel: this.#channel,
        blocks: this.#blocks,
        status: this.#state.buffer,
        signals: this.#signals.buffer,
        counters: this.#counters.buffer,
        queue: this.#queue.buffer,
      },
    });
    await thread.ready;
    return thread;
  }

  /** S3. */
  #startMigrationThread(): Thread<MigrationThreadResult> {
    const calls: SourceOwnerCalls = {
      stopGuest: async () => {
        const ran = this.#guest.running;
        await this.#guest.stop();
        return ran;
      },
      saveGuest: () => this.#guest.saveDeviceState(),
      startGuest: () => this.#guest.start(),
    };
    return startThread<MigrationThreadData, MigrationThreadResult, SourceEvent>({
      name: 'mig/src/main',
      entry: new URL('./migration-thread.js', import.meta.url),
      trace: this.#trace.open('mig/src/main'),
      data: {
        channel: this.#channel,
        blocks: this.#blocks,
        status: this.#state.buffer,
        signals: this.#signals.buffer,
        counters: this.#counters.buffer,
        queue: this.#queue.buffer,
        ...this.#options,
      },
      calls,
      onEvent: (event) => {
        if (event.kind === 'status') this.emit('status', event.status);
        else if (event.kind === 'pass') this.emit('pass', event.passes);
        else this.#switched.resolve();
      },
    });
  }

  #errorOf(outcome: Awaited<Thread<MigrationThreadResult>['ended']>): Error | undefined {
    if (outcome.kind === 'returned') {
      this.#result = outcome.result;
      return outcome.result.error === undefined ? undefined : fromPlainError(outcome.result.error);
    }
    const { status } = this;
    if (!isFinal(status)) this.#state.move(status, status === 'cancelling' ? 'cancelled' : 'failed');
    return outcome.kind === 'failed' ? outcome.error : undefined;
  }

  /**
   * S12: waits for the return path thread. Where the stream broke, what the destination said last is
   * the better explanation, so it has a moment to arrive.
   */
  async #closeReturnPath(thread: Thread<void> | undefined, error: Error | undefined): Promise<Error | undefined> {
    this.#queue.close();
    if (thread === undefined) return error;
    if (error === undefined && this.status === 'completed') {
      await thread.ended;
      return undefined;
    }
    const broken = error instanceof MigrationError && error.code === 'PEER_GONE';
    const patience = setTimeout(() => thread.kick(), broken ? LAST_WORD_MS : 0);
    const outcome = await thread.ended;
    clearTimeout(patience);
    if (outcome.kind !== 'failed') return error;
    const lastWord = outcome.error;
    return error === undefined || (lastWord instanceof MigrationError && lastWord.code !== 'PEER_GONE')
      ? lastWord
      : error;
  }

  get #channel() {
    return { socket: this.#socket, peer: this.#peer };
  }

  get #blocks() {
    return this.#guest.ramBlocks.map(({ descriptor }) => descriptor);
  }
}
