/**
 * Tracing as the owner of a migration does it: gives each thread its ring, and publishes what they record
 * on `node:diagnostics_channel`, one channel a point: `postcopy:postcopy_start` and so on. Only points
 * that somebody has subscribed to when the migration begins are worth anything, so without a subscriber
 * nothing is recorded.
 */
import { type Channel, channel } from 'node:diagnostics_channel';
import {
  createTraceWords,
  TRACE_CURSOR_WORDS,
  TRACE_RECORD_NUMBERS,
  Trace,
  TraceCursor,
  type TraceDescriptor,
  TraceMode,
  TraceWord,
} from './trace.js';
import { type TraceNames, type TracePoint, tracePointNames, tracePoints } from './trace-points.js';

/** What subscribers get: the point, where and when it was passed, and its values by name. */
export interface TraceMessage {
  readonly name: string;
  readonly side: 'source' | 'destination';
  /** The thread's name, as ps shows it. */
  readonly thread: string;
  /** CLOCK_MONOTONIC: the same clock in every process of this host. */
  readonly timestampUs: number;
  readonly values: Readonly<Record<string, number | string>>;
}

/** What subscribers to `postcopy:trace_dropped` get when a thread's ring was full. */
export interface TraceDropped {
  readonly thread: string;
  readonly records: number;
}

const PREFIX = 'postcopy:';
const DROPPED_CHANNEL = `${PREFIX}trace_dropped`;
/** Records of one thread between two looks. */
const RING_RECORDS = 16 * 1024;
/** Milliseconds between two looks. */
const LOOK_MS = 20;

interface Ring {
  readonly thread: string;
  readonly cursors: Int32Array;
  readonly records: Float64Array;
}

const channels: readonly Channel[] = tracePointNames.map((name) => channel(PREFIX + name));
const tables: readonly TracePoint[] = tracePointNames.map((name) => tracePoints[name]);
const valueNames = tables.map(({ values }) => Object.entries(values));

export class TraceSession {
  readonly #side: TraceMessage['side'];
  readonly #words: SharedArrayBuffer;
  readonly #records: boolean;
  readonly #rings: Ring[] = [];
  readonly #timer: NodeJS.Timeout | undefined;
  #names: TraceNames;
  /** The owner's own points. */
  readonly trace: Trace;

  /** `words`: those in which a test has set a breakpoint already, as the threads may come there at once. */
  constructor(side: TraceMessage['side'], ownThread: string, names: TraceNames, words = createTraceWords()) {
    this.#side = side;
    this.#words = words;
    this.#names = names;
    this.#records = channels.some(({ hasSubscribers }) => hasSubscribers);
    if (this.#records) {
      Atomics.or(new Int32Array(words), TraceWord.MODE, TraceMode.RECORD);
      this.#timer = setInterval(() => this.publish(), LOOK_MS).unref();
    }
    this.trace = new Trace(this.open(ownThread));
  }

  /** The words all threads of this side share; see {@link TraceWord}. */
  get words(): SharedArrayBuffer {
    return this.#words;
  }

  /** Names of values known only later, such as those of the blocks. */
  name(names: TraceNames): void {
    this.#names = { ...this.#names, ...names };
  }

  /** What the thread of that name traces with. */
  open(thread: string): TraceDescriptor {
    if (!this.#records) return { words: this.#words, ring: undefined };
    const ring = new SharedArrayBuffer(TRACE_CURSOR_WORDS * 4 + RING_RECORDS * TRACE_RECORD_NUMBERS * 8);
    this.#rings.push({
      thread,
      cursors: new Int32Array(ring, 0, TRACE_CURSOR_WORDS),
      records: new Float64Array(ring, TRACE_CURSOR_WORDS * 4),
    });
    return { words: this.#words, ring };
  }

  /** Publishes what has been recorded since the last time; thread by thread, each in its order. */
  publish(): void {
    for (const ring of this.#rings) this.#drain(ring);
  }

  /** Publishes the rest. The threads have ended. */
  close(): void {
    clearInterval(this.#timer);
    this.publish();
  }

  #drain({ thread, cursors, records }: Ring): void {
    const written = Atomics.load(cursors, TraceCursor.WRITTEN);
    let read = cursors[TraceCursor.READ];
    for (; read !== written; read = (read + 1) | 0) {
      const at = ((read >>> 0) % RING_RECORDS) * TRACE_RECORD_NUMBERS;
      const point = records[at];
      if (channels[point].hasSubscribers) channels[point].publish(this.#message(thread, records, at));
    }
    Atomics.store(cursors, TraceCursor.READ, read);
    const dropped = Atomics.exchange(cursors, TraceCursor.DROPPED, 0);
    if (dropped > 0) channel(DROPPED_CHANNEL).publish({ thread, records: dropped } satisfies TraceDropped);
  }

  #message(thread: string, records: Float64Array, at: number): TraceMessage {
    const point = records[at];
    const values: Record<string, number | string> = {};
    for (const [i, [name, kind]] of valueNames[point].entries()) {
      const value = records[at + 2 + i];
      values[name] = (this.#names as Record<string, readonly string[] | undefined>)[kind]?.[value] ?? value;
    }
    return { name: tracePointNames[point], side: this.#side, thread, timestampUs: records[at + 1], values };
  }
}
