/**
 * How a thread of the engine starts, reports and ends.
 *
 * A thread is a worker whose body is one synchronous function that blocks in native calls and
 * Atomics.wait. It cannot be terminated while it does (Node waits for the call to return), so it is
 * ended by its kick, an eventfd that every blocking call watches, and by the signals it waits on.
 * Its outcome is a value: the owner always learns how it ended, once it has really gone.
 */
import { parentPort, type Transferable, Worker, workerData } from 'node:worker_threads';
import { fromPlainError, type PlainError, toPlainError } from '../errors.js';
import { type EventfdHandle, native } from '../native.js';
import { createTraceWords, Trace, type TraceDescriptor } from '../trace/trace.js';
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
  | { readonly kind: 'ready' }
  | { readonly kind: 'event'; readonly event: Event }
  | { readonly kind: 'returned'; readonly result: unknown }
  | { readonly kind: 'kicked' }
  | { readonly kind: 'failed'; readonly error: PlainError };

interface ThreadBoot<Data> {
  readonly name: string;
  readonly urgent: boolean;
  readonly kick: EventfdHandle;
  readonly calls: CallerDescriptor;
  readonly trace: TraceDescriptor;
  readonly data: Data;
}

/** What a thread's body has besides its data. */
export interface ThreadContext<Event, Handlers extends CallHandlers> {
  /** Signalled when the thread is asked to end. */
  readonly kick: EventfdHandle;
  /** The owner's answers. */
  readonly owner: Caller<Handlers>;
  readonly trace: Trace;
  /** Tells the owner something, without waiting. */
  emit(event: Event): void;
  /** From here on it is {@link ThreadOptions.urgent}. */
  raise(): void;
}

export interface ThreadOptions<Data, Event> {
  /** What ps and top show; at most 15 bytes. */
  readonly name: string;
  /** Somebody waits for what it does: it gets a turn as soon as it wakes, where this process may have that. */
  readonly urgent?: boolean;
  /** The module that calls {@link runThread}. */
  readonly entry: URL;
  readonly data: Data;
  readonly transfer?: readonly Transferable[];
  readonly calls?: CallHandlers;
  /** Absent: the thread's trace points do nothing. */
  readonly trace?: TraceDescriptor;
  readonly onEvent?: (event: Event) => void;
}

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

function startWorker<Data, Event>(
  options: ThreadOptions<Data, Event>,
  boot: ThreadBoot<Data>,
  undo: () => void,
): Worker {
  try {
    return new Worker(options.entry, {
      name: options.name,
      workerData: boot,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
      transferList: [boot.calls.port, ...(options.transfer ?? [])],
    });
  } catch (error) {
    undo();
    throw error;
  }
}

/** Owner: starts a thread. Its kick and its calls go when it has ended. */
export function startThread<Data, Result, Event = never>(options: ThreadOptions<Data, Event>): Thread<Result> {
  const { eventfdCreate, eventfdSignal, eventfdClose } = native();
  const kick = eventfdCreate();
  const calls = serveCalls(options.calls ?? {});
  const boot: ThreadBoot<Data> = {
    name: options.name,
    urgent: options.urgent ?? false,
    kick,
    calls: calls.descriptor,
    trace: options.trace ?? { words: createTraceWords(), ring: undefined },
    data: options.data,
  };
  const worker = startWorker(options, boot, () => {
    calls.close();
    eventfdClose(kick);
  });
  let outcome: ThreadOutcome<Result> = {
    kind: 'failed',
    error: new Error(`thread ${options.name} ended without a word`),
  };
  let alive = true;
  const ended = new Promise<ThreadOutcome<Result>>((resolve) => {
    worker.on('exit', () => {
      alive = false;
      calls.close();
      eventfdClose(kick);
      resolve(outcome);
    });
  });
  const ready = new Promise<void>((resolve) => {
    worker.on('message', (report: Report<Event>) => {
      if (report.kind === 'ready') resolve();
      else if (report.kind === 'event') options.onEvent?.(report.event);
      else if (report.kind === 'failed') outcome = { kind: 'failed', error: fromPlainError(report.error) };
      else outcome = report as ThreadOutcome<Result>;
    });
    worker.on('error', (error) => {
      outcome = { kind: 'failed', error };
    });
    worker.on('exit', () => resolve());
  });
  return {
    name: options.name,
    ready,
    ended,
    kickHandle: kick,
    kick: () => {
      if (alive) eventfdSignal(kick);
    },
  };
}

/** Worker: runs a thread's body and reports how it ended. The one call of each thread's module. */
export function runThread<Data, Result, Event = never, Handlers extends CallHandlers = Record<string, never>>(
  body: (data: Data, thread: ThreadContext<Event, Handlers>) => Result,
): void {
  const { name, urgent, kick, calls, trace, data } = workerData as ThreadBoot<Data>;
  const post = (report: Report<Event>) => parentPort?.postMessage(report);
  const owner = new Caller<Handlers>(calls);
  native().setThreadName(name);
  const raise = () => void native().raiseThread(URGENT_STEPS); // as far as this process may
  if (urgent) raise();
  post({ kind: 'ready' });
  try {
    const result = body(data, {
      kick,
      owner,
      trace: new Trace(trace),
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
