/**
 * The incoming migration as its owner sees it: starts the threads, makes or takes the guest, does for
 * it what they ask, and cleans up when they have ended. Lives in the thread of its caller.
 */
import { EventEmitter } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import type { Listener } from '../channel/connect.js';
import { fromPlainError, MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import type { Capabilities } from '../options.js';
import { startThread, type Thread } from '../threads/thread.js';
import { TraceSession } from '../trace/trace-session.js';
import type { RamBlockEntry } from '../wire/messages.js';
import { createDestinationCounters } from './destination-counters.js';
import { createDestinationSignals, Handed, Package } from './destination-signals.js';
import type { FaultThreadData } from './fault-thread.js';
import { openForPostcopy } from './host-check.js';
import type { ListenThreadData, ListenThreadResult } from './listen-thread.js';
import type { DestinationEvent, DestinationOwnerCalls, MainThreadData, MainThreadResult } from './main-thread.js';
import { postcopyStates } from './postcopy-state.js';
import { type MemoryBefore, restoreMemory } from './prepare-memory.js';

/** A guest that is there, or what makes one to fit the source's blocks. */
export type GuestOrFactory = Guest | ((blocks: readonly RamBlockEntry[]) => Guest | Promise<Guest>);

export type IncomingStatus = 'setup' | 'active' | 'postcopy-active' | 'completed' | 'failed';

export interface FaultInfo {
  /** Page faults read from the kernel. */
  readonly count: number;
  /** From the fault's reading to the page's placing, in µs; 0 where there was none. */
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

/** RAM as it came in, under the names of QMP's MigrationStats. */
export interface IncomingRamInfo {
  readonly transferred: number;
  readonly duplicate: number;
  readonly normal: number;
  readonly precopyBytes: number;
  readonly postcopyBytes: number;
  readonly postcopyRequests: number;
  /** Of those, how many pages are there. */
  readonly postcopyRequestsServed: number;
  readonly pageSize: number;
}

export interface IncomingInfo {
  readonly status: IncomingStatus;
  /** Whether the guest was started before all of its pages were there. */
  readonly postcopy: boolean;
  readonly ram: IncomingRamInfo;
  readonly faults: FaultInfo;
}

export interface IncomingEvents {
  status: [status: IncomingStatus];
}

/** Milliseconds for the source to close once it was told that this side fails. */
const LAST_WORD_MS = 1000;

interface Threads {
  readonly main: Thread<MainThreadResult>;
  readonly listen: Thread<ListenThreadResult>;
  readonly fault: Thread<void>;
}

export class IncomingMigration extends EventEmitter<IncomingEvents> {
  readonly #listener: Listener;
  readonly #guestOrFactory: GuestOrFactory;
  readonly #capabilities: Capabilities;
  readonly #signals = createDestinationSignals();
  readonly #counters = createDestinationCounters();
  readonly #trace: TraceSession;
  readonly #threads: Threads;
  #guest: Guest | undefined;
  #socket: SocketHandle | undefined;
  #uffd: UserfaultfdHandle | undefined;
  #memoryBefore: MemoryBefore = [];
  #status: IncomingStatus = 'setup';
  #firstError: Error | undefined;
  #patience: NodeJS.Timeout | undefined;

  /** Resolved when completed; rejected with a MigrationError when failed. All threads and fds are gone by then. */
  readonly finished: Promise<IncomingInfo>;

  /** Takes over `listener`. `traceWords` are a test's, with a breakpoint set. */
  constructor(listener: Listener, guest: GuestOrFactory, capabilities: Capabilities, traceWords?: SharedArrayBuffer) {
    super();
    this.#listener = listener;
    this.#guestOrFactory = guest;
    this.#capabilities = capabilities;
    this.#trace = new TraceSession('destination', 'owner', { postcopyState: postcopyStates }, traceWords);
    this.#threads = this.#startThreads();
    this.finished = this.#run();
    this.finished.catch(() => {}); // whoever cares awaits it; nobody must
  }

  /** Where it listens, the port filled in. */
  get uri(): string {
    return this.#listener.uri;
  }

  get status(): IncomingStatus {
    return this.#status;
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
    const c = this.#counters.snapshot();
    return {
      status: this.#status,
      postcopy: this.#listens,
      ram: {
        transferred: c.transferred,
        duplicate: c.duplicate,
        normal: c.normal,
        precopyBytes: c.precopyBytes,
        postcopyBytes: c.postcopyBytes,
        postcopyRequests: c.postcopyRequests,
        postcopyRequestsServed: c.requestsServed,
        pageSize: TARGET_PAGE_SIZE,
      },
      faults: { count: c.faults, p50Us: c.faultP50Us, p99Us: c.faultP99Us, maxUs: c.faultMaxUs },
    };
  }

  /** Ends it, as if the source had gone. Once the guest runs here, its missing pages are lost with this. */
  abort(): void {
    this.#firstError ??= new MigrationError('CANCELLED', 'the incoming migration was ended here', {
      hint: 'start the destination again',
    });
    this.#release();
  }

  /**
   * Lets go of the memory of a guest that was lost here: whoever waits for a missing page goes on, and finds
   * zeroes. Only for a guest whose state does not matter any more; otherwise does nothing.
   */
  abandon(): void {
    if (this.#status === 'failed') this.#letGoOfMemory();
  }

  #startThreads(): Threads {
    const signals = this.#signals.buffer;
    const counters = this.#counters.buffer;
    const faultWork = new MessageChannel();
    const listenWork = new MessageChannel();
    const fault = startThread<FaultThreadData, void>({
      name: 'mig/dst/fault',
      entry: new URL('./fault-thread.js', import.meta.url),
      trace: this.#trace.open('mig/dst/fault'),
      data: { signals, counters, work: faultWork.port2 },
      transfer: [faultWork.port2],
    });
    const listen = startThread<ListenThreadData, ListenThreadResult, DestinationEvent>({
      name: 'mig/dst/listen',
      entry: new URL('./listen-thread.js', import.meta.url),
      trace: this.#trace.open('mig/dst/listen'),
      data: { signals, counters, faultKick: fault.kickHandle, work: listenWork.port2 },
      transfer: [listenWork.port2],
      onEvent: (event) => this.#onEvent(event),
    });
    const calls: DestinationOwnerCalls = {
      connected: (socket) => this.#connected(socket),
      ramBlocks: (blocks) => this.#ramBlocks(blocks),
      willPrepareMemory: (before) => {
        this.#memoryBefore = before;
      },
      openUserfaultfd: (blocks) => this.#openUserfaultfd(blocks),
      resumeGuest: ({ state, start }) => this.#resumeGuest(state, start),
    };
    const main = startThread<MainThreadData, MainThreadResult, DestinationEvent>({
      name: 'mig/dst/main',
      entry: new URL('./main-thread.js', import.meta.url),
      trace: this.#trace.open('mig/dst/main'),
      data: {
        listener: this.#listener.socket,
        uri: this.#listener.uri,
        capabilities: this.#capabilities,
        signals,
        counters,
        listenWork: listenWork.port1,
        faultWork: faultWork.port1,
      },
      transfer: [listenWork.port1, faultWork.port1],
      calls,
      onEvent: (event) => this.#onEvent(event),
    });
    return { main, listen, fault };
  }

  async #run(): Promise<IncomingInfo> {
    const { main, listen, fault } = this.#threads;
    await Promise.all([main, listen, fault].map((thread) => this.#watch(thread)));
    this.#cleanUp();
    this.#setStatus(this.#firstError === undefined ? 'completed' : 'failed');
    if (this.#firstError !== undefined) throw this.#firstError;
    return this.info();
  }

  /** Waits for one thread's end; the first that fails ends the others. */
  async #watch(thread: Thread<unknown>): Promise<void> {
    const outcome = await thread.ended;
    // After a precopy nobody else ends the fault thread.
    if (thread === this.#threads.main && !this.#listens) this.#threads.fault.kick();
    if (outcome.kind !== 'failed') return;
    this.#firstError ??= outcome.error;
    this.#release();
  }

  /** Frees every thread from whatever it waits for. */
  #release(): void {
    this.#signals.set('RELEASED', 1);
    this.#signals.exchange('PREPARED', Handed.NOT_YET, Handed.NEVER);
    this.#signals.exchange('LISTEN', Handed.NOT_YET, Handed.NEVER);
    this.#signals.exchange('PACKAGE', Package.PENDING, Package.FAILED);
    for (const thread of Object.values(this.#threads)) thread.kick();
  }

  #onEvent(event: DestinationEvent): void {
    if (event.kind !== 'failing') {
      this.#setStatus(event.kind);
      return;
    }
    this.#firstError ??= fromPlainError(event.error);
    this.#patience ??= setTimeout(() => this.#release(), LAST_WORD_MS);
  }

  #connected(socket: SocketHandle): void {
    this.#socket = socket;
    this.#listener.close();
  }

  async #ramBlocks(entries: readonly RamBlockEntry[]): Promise<readonly RAMBlockDescriptor[]> {
    this.#guest =
      typeof this.#guestOrFactory === 'function' ? await this.#guestOrFactory(entries) : this.#guestOrFactory;
    this.#trace.name({ block: this.#guest.ramBlocks.map(({ idstr }) => idstr) });
    return this.#guest.ramBlocks.map(({ descriptor }) => descriptor);
  }

  #openUserfaultfd(blocks: readonly RAMBlockDescriptor[]): UserfaultfdHandle {
    this.#uffd = openForPostcopy(blocks);
    return this.#uffd;
  }

  /** The stream belongs, or belonged, to the listen thread. */
  get #listens(): boolean {
    return this.#signals.get('LISTEN') === Handed.YES;
  }

  async #resumeGuest(state: Uint8Array, start: boolean): Promise<void> {
    const guest = this.#requireGuest();
    await guest.loadDeviceState(state);
    if (start) await guest.start();
  }

  #requireGuest(): Guest {
    if (this.#guest === undefined)
      throw new MigrationError('ILLEGAL_COMMAND', 'the source sent the guest before its RAM blocks');
    return this.#guest;
  }

  #cleanUp(): void {
    clearTimeout(this.#patience);
    this.#trace.close();
    this.#listener.close();
    if (this.#socket !== undefined) native().socketClose(this.#socket);
    // Who waits for a missing page, or comes to one, must go on waiting: closed, they would read as zeroes.
    const lost = this.#firstError !== undefined && this.#listens;
    if (!lost) this.#letGoOfMemory();
  }

  #letGoOfMemory(): void {
    if (this.#uffd !== undefined) native().userfaultfdClose(this.#uffd);
    this.#uffd = undefined;
    restoreMemory(this.#signals, this.#guest?.ramBlocks ?? [], this.#memoryBefore);
  }

  #setStatus(status: IncomingStatus): void {
    this.#status = status;
    this.emit('status', status);
  }
}
