/**
 * The incoming migration as its owner sees it: starts the threads, makes or takes the guest, does for
 * it what they ask, and cleans up when they have ended. Lives in the thread of its caller.
 */
import { EventEmitter } from 'node:events';
import { MessageChannel } from 'node:worker_threads';
import type { Listener } from '../channel/connect.js';
import { fromPlainError, MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import type { Guest, Machine, MachineReceiver } from '../memory/guest.js';
import { guestFailed, requireAlive, watchForDeath, withinLimit } from '../memory/guest-failure.js';
import { pageCount } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native, type SocketHandle, type UserfaultfdHandle } from '../native.js';
import type { Capabilities } from '../options.js';
import { startThread, type Thread, type ThreadOutcome } from '../threads/thread.js';
import { TraceSession } from '../trace/trace-session.js';
import type { RamBlockEntry } from '../wire/messages.js';
import { Blocktime } from './blocktime.js';
import { createDestinationCounters } from './destination-counters.js';
import { createDestinationSignals, GuestPhase, Handed, Package } from './destination-signals.js';
import type { FaultThreadData } from './fault-thread.js';
import { openForPostcopy } from './host-check.js';
import { type GuestLoss, type IncomingInfo, incomingInfo } from './incoming-info.js';
import { IncomingState, type IncomingStatus } from './incoming-state.js';
import type { ListenThreadData, ListenThreadResult } from './listen-thread.js';
import type { DestinationEvent, DestinationOwnerCalls, MainThreadData, MainThreadResult } from './main-thread.js';
import { postcopyStates } from './postcopy-state.js';
import { type MemoryBefore, restoreMemory } from './prepare-memory.js';

/** A guest of ours that is there, or what makes one to fit the source's blocks; or what takes any machine. */
export type GuestOrFactory = Guest | ((blocks: readonly RamBlockEntry[]) => Guest | Promise<Guest>) | MachineReceiver;

export interface IncomingOptions {
  readonly capabilities: Capabilities;
  /** Milliseconds that the guest may take for each thing it is asked, waits for pages aside; 0 is no limit. */
  readonly guestTimeoutMs: number;
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
  readonly #options: IncomingOptions;
  readonly #signals = createDestinationSignals();
  readonly #counters = createDestinationCounters();
  readonly #trace: TraceSession;
  readonly #state = new IncomingState();
  /** With the capability. */
  readonly #blocktime: Blocktime | undefined;
  readonly #guestCallsAbandoned: Promise<never>;
  #abandonGuestCalls: (reason: unknown) => void = () => {};
  readonly #threads: Threads;
  /** Every page has come. */
  readonly #allHere: Promise<void>;
  #resolveAllHere: () => void = () => {};
  #guest: Guest | undefined;
  #unwatchGuest: () => void = () => {};
  /** It died after it was started here. */
  #death: MigrationError | undefined;
  #socket: SocketHandle | undefined;
  #uffd: UserfaultfdHandle | undefined;
  #memoryBefore: MemoryBefore = [];
  /** What is being filled, whatever the guest makes of its RAM meanwhile. */
  #blocks: readonly RAMBlockDescriptor[] = [];
  #received: readonly PageBitmap[] = [];
  #lost: GuestLoss | undefined;
  #firstError: Error | undefined;
  #patience: NodeJS.Timeout | undefined;

  /** Resolved when completed; rejected with a MigrationError when failed. All threads and fds are gone by then. */
  readonly finished: Promise<IncomingInfo>;

  /** Takes over `listener`. `traceWords` are a test's, with a breakpoint set. */
  constructor(listener: Listener, guest: GuestOrFactory, options: IncomingOptions, traceWords?: SharedArrayBuffer) {
    super();
    this.#listener = listener;
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
    this.#state.move('setup');
    this.#threads = this.#startThreads();
    this.finished = this.#run();
    this.finished.catch(() => {}); // whoever cares awaits it; nobody must
  }

  /** Its threads have started, and a source is not kept waiting for them. Never rejects. */
  async ready(): Promise<void> {
    const { main, listen, fault } = this.#threads;
    await Promise.all([main.ready, listen.ready, fault.ready]);
  }

  /** Where it listens, the port filled in. */
  get uri(): string {
    return this.#listener.uri;
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
      counters: this.#counters.snapshot(),
      blocktime: blocktime === undefined ? undefined : { overallUs: blocktime.overallUs, vcpuUs: blocktime.vcpuUs() },
      guestDied: this.#death?.message,
      lost: this.#lost,
    });
  }

  /**
   * Ends it, as if the source had gone. Once the guest was handed over to here, it is lost with this, unless all
   * has come by then: a migration that is complete stays so.
   */
  abort(): void {
    this.#firstError ??= new MigrationError('CANCELLED', 'the incoming migration was ended here', {
      hint: 'start the destination again',
    });
    this.#release();
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
    const faultWork = new MessageChannel();
    const listenWork = new MessageChannel();
    const fault = startThread<FaultThreadData, void>({
      name: 'mig/dst/fault',
      entry: new URL('./fault-thread.js', import.meta.url),
      trace: this.#trace.open('mig/dst/fault'),
      data: { signals, counters, blocktime, work: faultWork.port2 },
      transfer: [faultWork.port2],
    });
    const listen = startThread<ListenThreadData, ListenThreadResult, DestinationEvent>({
      name: 'mig/dst/listen',
      entry: new URL('./listen-thread.js', import.meta.url),
      trace: this.#trace.open('mig/dst/listen'),
      data: { signals, counters, blocktime, faultKick: fault.kickHandle, work: listenWork.port2 },
      transfer: [listenWork.port2],
      onEvent: (event) => this.#onEvent(event),
    });
    const calls: DestinationOwnerCalls = {
      connected: (socket) => {
        this.#socket = socket;
      },
      ramBlocks: ({ blocks, machine }) => this.#ramBlocks(blocks, machine),
      willPrepareMemory: ({ before, received }) => {
        this.#memoryBefore = before;
        this.#received = this.#blocks.map(({ size }, index) => new PageBitmap(pageCount(size), received[index]));
      },
      openUserfaultfd: (blocks) => this.#openUserfaultfd(blocks),
      resumeGuest: ({ state, vmDescription, start }) => this.#resumeGuest(state, vmDescription, start),
    };
    const main = startThread<MainThreadData, MainThreadResult, DestinationEvent>({
      name: 'mig/dst/main',
      entry: new URL('./main-thread.js', import.meta.url),
      trace: this.#trace.open('mig/dst/main'),
      data: {
        listener: this.#listener.socket,
        uri: this.#listener.uri,
        machine: 'receive' in this.#guestOrFactory ? { like: this.#guestOrFactory.like } : 'own',
        capabilities: this.#options.capabilities,
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
    const kinds = await Promise.all([main, listen, fault].map((thread) => this.#watch(thread)));
    // What came in between, such as an abort, came too late.
    const isComplete = kinds[0] === 'returned' && kinds[1] === 'returned' && kinds[2] !== 'failed';
    const error = isComplete ? this.#deathWithAllHere() : (this.#firstError ?? new Error('a thread ended early'));
    this.#cleanUp(error);
    this.#setStatus(error === undefined ? 'completed' : 'failed');
    if (error !== undefined) throw error;
    return this.info();
  }

  /** Waits for one thread's end; the first that fails ends the others. */
  async #watch(thread: Thread<unknown>): Promise<ThreadOutcome<unknown>['kind']> {
    const outcome = await thread.ended;
    if (thread === this.#threads.main) {
      this.#listener.close();
      // After a precopy nobody else ends the fault thread.
      if (!this.#listens) this.#threads.fault.kick();
    }
    if (outcome.kind === 'failed') {
      this.#firstError ??= outcome.error;
      this.#release();
    }
    return outcome.kind;
  }

  /** Frees every thread from whatever it waits for. */
  #release(): void {
    this.#signals.set('RELEASED', 1);
    this.#signals.exchange('PREPARED', Handed.NOT_YET, Handed.NEVER);
    this.#signals.exchange('LISTEN', Handed.NOT_YET, Handed.NEVER);
    this.#signals.exchange('PACKAGE', Package.PENDING, Package.FAILED);
    this.#abandonGuestCalls(this.#firstError);
    for (const thread of Object.values(this.#threads)) thread.kick();
  }

  #onEvent(event: DestinationEvent): void {
    if (event.kind === 'failing') this.#failing(fromPlainError(event.error));
    else if (event.kind === 'all-here') this.#resolveAllHere();
    else this.#setStatus(event.kind);
  }

  /** A thread ends, or will soon; the others have a moment for the last word. */
  #failing(error: Error): void {
    this.#firstError ??= error;
    this.#patience ??= setTimeout(() => this.#release(), LAST_WORD_MS);
  }

  /** Before it was started here it fails the migration; after, its memory is all that is left, and comes whole. */
  #onGuestDeath(death: MigrationError): void {
    if (this.#signals.get('GUEST') === GuestPhase.HERE) {
      this.#death = death;
      return;
    }
    this.#signals.set('GUEST', GuestPhase.DIED);
    this.#abandonGuestCalls(death);
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
    this.#uffd = openForPostcopy(blocks, this.#guest?.faultsInKernel);
    return this.#uffd;
  }

  /** The stream belongs, or belonged, to the listen thread. */
  get #listens(): boolean {
    return this.#signals.get('LISTEN') === Handed.YES;
  }

  async #resumeGuest(state: Uint8Array, vmDescription: string | undefined, start: boolean): Promise<void> {
    const guest = this.#requireGuest();
    await this.#ask('take over its device state', () => guest.loadDeviceState(state, vmDescription));
    if (start) await this.#start(guest);
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
    if (this.#socket !== undefined) native().socketClose(this.#socket);
    const isHere = this.#listens || this.#signals.get('GUEST') === GuestPhase.HERE;
    if (error !== undefined && isHere) this.#lost = this.#assessLoss(error);
    // Who waits for a missing page, or comes to one, must go on waiting: let go of, they would read as zeroes.
    if ((this.#lost?.missingPages ?? 0) === 0) this.#letGoOfMemory();
  }

  /** After LISTEN the source never runs the guest again. Undefined if it is whole here, and runs or may be started. */
  #assessLoss({ message }: Error): GuestLoss | undefined {
    const missingPages = this.#received.reduce((sum, pages) => sum + pages.pageCount - pages.count(), 0);
    const hasRun = this.#signals.get('GUEST') === GuestPhase.HERE || this.#guest?.running === true;
    const isAlive = this.#death === undefined;
    return missingPages === 0 && hasRun && isAlive ? undefined : { missingPages, hasRun, reason: message };
  }

  #letGoOfMemory(): void {
    if (this.#uffd !== undefined) native().userfaultfdClose(this.#uffd);
    this.#uffd = undefined;
    restoreMemory(this.#signals, this.#blocks, this.#memoryBefore);
  }

  #setStatus(status: IncomingStatus): void {
    this.#state.move(status);
    this.emit('status', status);
  }
}
