/**
 * How a thread of the engine starts, reports and ends.
 *
 * A thread is a worker whose body is one synchronous function that blocks in native calls and
 * Atomics.wait. It cannot be terminated while it does (Node waits for the call to return), so it is
 * ended by its kick, an eventfd that every blocking call watches, and by the signals it waits on.
 * Its outcome is a value: the owner always learns how it ended, once it has really gone.
 *
 * Starting one takes tens of milliseconds, so it can be started ahead and park until there is work.
 */
import {
  MessageChannel,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  type Transferable,
  Worker,
  workerData,
} from 'node:worker_threads';
import { fromPlainError, type PlainError, toPlainError } from '../errors.js';
import { type EventfdHandle, native } from '../native.js';
import { Trace, type TraceDescriptor, untraced } from '../trace/trace.js';
import { Caller, type CallerDescriptor, type CallHandlers, serveCalls } from './call.js';
import { Kicked } from './kicked.js';

/** The loops allocate next to nothing; V8's default of 48 MiB a thread would only be filled because it is there. */
const YOUNG_GENERATION_MB = 2;

/** Of a thread that others wait for, and that does little at a time. Else it waits for milliseconds on a busy host. */
const URGENT_STEPS = 19;

/** How a thread ended. */
export type ThreadOutcome<Result> =
  | { readonly kind: 'returned'; readonly result: Result }
  | { readonly kind: 'kicked' }
  | { readonly kind: 'failed'; readonly error: Error };

type Report<Event> =
  | { readonly kind: 'parked'; readonly failure: PlainError | undefined }
  | { readonly kind: 'ready' }
  | { readonly kind: 'event'; readonly event: Event }
  | { readonly kind: 'returned'; readonly result: unknown }
  | { readonly kind: 'kicked' }
  | { readonly kind: 'failed'; readonly error: PlainError };

/** What it gets at its start, or where it is parked. */
interface WorkBoot<Data> {
  readonly trace: TraceDescriptor;
  readonly data: Data;
}

/** Where a thread is parked: until the word is a value of {@link Parked}. */
interface ParkedBoot {
  readonly word: SharedArrayBuffer;
  readonly work: MessagePort;
}

/** Calls of a rehearsal have names of their own, as it may go on while the thread is given its work. */
const REHEARSAL = 'rehearsal.';

const Parked = { WAITS: 0, WORKS: 1, CLOSED: 2 } as const;

interface ThreadBoot<Data> {
  readonly name: string;
  readonly urgent: boolean;
  readonly kick: EventfdHandle;
  readonly calls: CallerDescriptor;
  readonly work: WorkBoot<Data> | ParkedBoot;
}

export type Owner<Handlers extends CallHandlers> = Pick<Caller<Handlers>, 'call'>;

/** What a thread's body has besides its data. */
export interface ThreadContext<Event, Handlers extends CallHandlers> {
  /** Signalled when the thread is asked to end. */
  readonly kick: EventfdHandle;
  /** The owner's answers. */
  readonly owner: Owner<Handlers>;
  readonly trace: Trace;
  /** Tells the owner something, without waiting. */
  emit(event: Event): void;
  /** From here on it is {@link ThreadOptions.urgent}. */
  raise(): void;
}

/** Which thread it is. */
export interface ThreadIdentity {
  /** What ps and top show; at most 15 bytes. */
  readonly name: string;
  /** Somebody waits for what it does: it gets a turn as soon as it wakes, where this process may have that. */
  readonly urgent?: boolean;
  /** The module that calls {@link runThread}. */
  readonly entry: URL;
}

/** What it is to do. */
export interface ThreadWork<Data, Event> {
  readonly data: Data;
  readonly transfer?: readonly Transferable[];
  readonly calls?: CallHandlers;
  /** Absent: the thread's trace points do nothing. */
  readonly trace?: TraceDescriptor;
  readonly onEvent?: (event: Event) => void;
}

export type ThreadOptions<Data, Event> = ThreadIdentity & ThreadWork<Data, Event>;

export interface Thread<Result> {
  readonly name: string;
  /** The thread's body runs. Never rejects: a thread that fails to start ends as failed. */
  readonly ready: Promise<void>;
  /** Resolved when the thread is gone. Never rejects. */
  readonly ended: Promise<ThreadOutcome<Result>>;
  /** The eventfd behind {@link kick}, for another thread that has to end this one. */
  readonly kickHandle: EventfdHandle;
  /** Asks it to end. */
  kick(): void;
}

/** A thread that was started ahead, and waits for its work. It does not keep the process alive while it does. */
export interface ParkedThread<Data, Result, Event> {
  /**
   * It waits, or has ended without: what is wrong then is the outcome of {@link begin}. Resolved with what went wrong
   * in its rehearsal, if anything did. Never rejects.
   */
  readonly parked: Promise<PlainError | undefined>;
  /** Once: it does that. Throws, and the thread stays parked, where the work can't be sent. */
  begin(work: ThreadWork<Data, Event>): Thread<Result>;
  /** Ends it if it has no work yet; resolved when it is gone, or at once. More than once is harmless. */
  close(): Promise<void>;
}

/** The owner's side of a worker. */
interface StartedWorker<Result, Event> extends Thread<Result> {
  readonly worker: Worker;
  readonly parked: Promise<PlainError | undefined>;
  onEvent: (event: Event) => void;
}

function createWorker<Data>(
  { name, entry }: ThreadIdentity,
  boot: ThreadBoot<Data>,
  transfer: readonly Transferable[],
  undo: () => void,
): Worker {
  try {
    return new Worker(entry, {
      name,
      workerData: boot,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      transferList: [boot.calls.port, ...transfer],
    });
  } catch (error) {
    undo();
    throw error;
  }
}

/** `handlers` may be filled later. */
function startWorker<Data, Result, Event>(
  identity: ThreadIdentity,
  handlers: CallHandlers,
  work: ThreadBoot<Data>['work'],
  transfer: readonly Transferable[],
): StartedWorker<Result, Event> {
  const { eventfdCreate, eventfdSignal, eventfdClose } = native();
  const { name, urgent = false } = identity;
  const kick = eventfdCreate();
  const calls = serveCalls(handlers);
  const boot: ThreadBoot<Data> = { name, urgent, kick, calls: calls.descriptor, work };
  const worker = createWorker(identity, boot, transfer, () => {
    calls.close();
    eventfdClose(kick);
  });
  let outcome: ThreadOutcome<Result> = { kind: 'failed', error: new Error(`thread ${name} ended without a word`) };
  let alive = true;
  const ended = new Promise<ThreadOutcome<Result>>((resolve) => {
    worker.on('exit', () => {
      alive = false;
      calls.close();
      eventfdClose(kick);
      resolve(outcome);
    });
  });
  let park: (failure: PlainError | undefined) => void = () => {};
  const parked = new Promise<PlainError | undefined>((resolve) => {
    park = resolve;
  });
  let begin = () => {};
  const ready = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const started: StartedWorker<Result, Event> = {
    ...{ name, worker, parked, ready, ended, kickHandle: kick, onEvent: () => {} },
    kick: () => {
      if (alive) eventfdSignal(kick);
    },
  };
  worker.on('message', (report: Report<Event>) => {
    if (report.kind === 'parked') park(report.failure);
    else if (report.kind === 'ready') begin();
    else if (report.kind === 'event') started.onEvent(report.event);
    else if (report.kind === 'failed') outcome = { kind: 'failed', error: fromPlainError(report.error) };
    else outcome = report as ThreadOutcome<Result>;
  });
  worker.on('error', (error) => {
    outcome = { kind: 'failed', error };
  });
  worker.on('exit', () => {
    park(undefined);
    begin();
  });
  return started;
}

/** Owner: starts a thread. Its kick and its calls go when it has ended. */
export function startThread<Data, Result, Event = never>(options: ThreadOptions<Data, Event>): Thread<Result> {
  const { calls = {}, data, trace = untraced(), transfer = [], onEvent } = options;
  const started = startWorker<Data, Result, Event>(options, calls, { data, trace }, transfer);
  if (onEvent !== undefined) started.onEvent = onEvent;
  return started;
}

/** Owner: starts a thread that parks. `rehearsed`: what is answered to the calls of its rehearsal. */
export function parkThread<Data, Result, Event = never>(
  identity: ThreadIdentity,
  rehearsed: CallHandlers = {},
): ParkedThread<Data, Result, Event> {
  const { port1, port2 } = new MessageChannel();
  const word = new SharedArrayBuffer(4);
  const handlers: CallHandlers = Object.fromEntries(
    Object.entries(rehearsed).map(([name, handler]) => [REHEARSAL + name, handler]),
  );
  const started = startWorker<Data, Result, Event>(identity, handlers, { word, work: port2 }, [port2]);
  const { worker } = started;
  void started.parked.then(() => isWaiting() && worker.unref());
  const at = new Int32Array(word);
  const isWaiting = () => Atomics.load(at, 0) === Parked.WAITS;
  const leave = (how: number): void => {
    worker.ref();
    Atomics.store(at, 0, how);
    Atomics.notify(at, 0);
    port1.close();
  };
  return {
    parked: started.parked,
    begin: ({ data, transfer = [], calls = {}, trace = untraced(), onEvent }) => {
      port1.postMessage({ data, trace } satisfies WorkBoot<Data>, [...transfer]);
      Object.assign(handlers, calls);
      if (onEvent !== undefined) started.onEvent = onEvent;
      leave(Parked.WORKS);
      return started;
    },
    close: async () => {
      if (isWaiting()) leave(Parked.CLOSED);
      if (Atomics.load(at, 0) === Parked.CLOSED) await started.ended;
    },
  };
}

const rehearsalOwner = <Handlers extends CallHandlers>(owner: Caller<Handlers>): Owner<Handlers> => ({
  call: (name, argument) => owner.call((REHEARSAL + name) as typeof name, argument),
});

/** What it throws. */
export function failureOf(attempt: () => unknown): PlainError | undefined {
  try {
    attempt();
    return undefined;
  } catch (error) {
    return toPlainError(error);
  }
}

/** Worker: blocks until there is work; undefined where there will be none. */
function park<Data>(
  { word, work }: ParkedBoot,
  rehearse: (hasWork: () => boolean) => void,
): WorkBoot<Data> | undefined {
  const at = new Int32Array(word);
  const hasWork = () => Atomics.load(at, 0) !== Parked.WAITS;
  const failure = failureOf(() => hasWork() || rehearse(hasWork));
  parentPort?.postMessage({ kind: 'parked', failure } satisfies Report<never>);
  Atomics.wait(at, 0, Parked.WAITS);
  const received = receiveMessageOnPort(work) as { message: WorkBoot<Data> } | undefined;
  work.close();
  return received?.message;
}

/**
 * Worker: runs a thread's body and reports how it ended. The one call of each thread's module. `rehearse`: what one
 * that is parked does first, for as long as there is no work, so that its code is compiled then; its
 * calls are answered by others than those of the work, and what it throws changes nothing.
 */
export function runThread<Data, Result, Event = never, Handlers extends CallHandlers = Record<string, never>>(
  body: (data: Data, thread: ThreadContext<Event, Handlers>) => Result,
  rehearse: (owner: Owner<Handlers>, hasWork: () => boolean) => void = () => {},
): void {
  const { name, urgent, kick, calls, work: boot } = workerData as ThreadBoot<Data>;
  const post = (report: Report<Event>) => parentPort?.postMessage(report);
  const owner = new Caller<Handlers>(calls);
  native().setThreadName(name);
  const raise = () => void native().raiseThread(URGENT_STEPS); // as far as this process may
  if (urgent) raise();
  try {
    const work = 'word' in boot ? park<Data>(boot, (hasWork) => rehearse(rehearsalOwner(owner), hasWork)) : boot;
    if (work === undefined) throw new Kicked();
    post({ kind: 'ready' });
    const result = body(work.data, {
      kick,
      owner,
      trace: new Trace(work.trace),
      emit: (event) => post({ kind: 'event', event }),
      raise,
    });
    post({ kind: 'returned', result });
  } catch (error) {
    post(error instanceof Kicked ? { kind: 'kicked' } : { kind: 'failed', error: toPlainError(error) });
  } finally {
    owner.close();
  }
}
