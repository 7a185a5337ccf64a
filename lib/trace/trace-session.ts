/**
 * Tracing as the owner of a migration does it: gives each thread its ring, and publishes what they record
 * on `node:diagnostics_channel`, one channel a point: `postcopy:postcopy_start` and so on. Only points
 * that somebody has subscribed to when the migration begins are worth anything, so without a subscriber
 * nothing is recorded.
 */
import { type Channel, channel } from 'node:diagnostics_channel';
import { native } from '../native.js';
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
  /** A trace point's name, or `TRACE_DROPPED`. */
  readonly name: string;
  readonly side: 'source' | 'destination';
  /** The thread's name, as ps shows it. */
  readonly thread: string;
  /** CLOCK_MONOTONIC: the same clock in every process of this host. */
  readonly timestampUs: number;
  readonly values: Readonly<Record<string, number | string>>;
}

/** Published when a thread's ring was full: its value `records` tells how many points are missing at that place. */
export const TRACE_DROPPED = 'trace_dropped';

const PREFIX = 'postcopy:';
/** Records of one thread that can wait to be published. */
const RING_RECORDS = 64 * 1024;
/** Milliseconds between two looks. */
const LOOK_MS = 20;
/**
 * A thread may be put to sleep between reading the clock and having recorded: a point is published once it is
 * that old, so that those of other threads come in their place in time.
 */
const SETTLED_US = LOOK_MS * 1000;

interface Ring {
  readonly thread: string;
  readonly cursors: Int32Array;
  readonly records: Float64Array;
  /** Records published, and recorded at the last look; both wrap at 2^32. */
  read: number;
  written: number;
}

/** Every channel that a session publishes on. */
export const traceChannels: readonly string[] = [...tracePointNames, TRACE_DROPPED].map((name) => PREFIX + name);

const droppedChannel = channel(PREFIX + TRACE_DROPPED);
const channels: readonly Channel[] = tracePointNames.map((name) => channel(PREFIX + name));
const tables: readonly TracePoint[] = tracePointNames.map((name) => tracePoints[name]);
const valueNames = tables.map(({ values }) => Object.entries(values));

/** Where a record begins in its ring. */
const recordAt = (record: number): number => ((record >>> 0) % RING_RECORDS) * TRACE_RECORD_NUMBERS;

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
      read: 0,
      written: 0,
    });
    return { words: this.#words, ring };
  }

  /** Publishes what was recorded up to that time, of all threads in the order of time. */
  publish(untilUs = native().monotonicUs() - SETTLED_US): void {
    for (const ring of this.#rings) ring.written = Atomics.load(ring.cursors, TraceCursor.WRITTEN);
    for (let ring = this.#earliest(untilUs); ring !== undefined; ring = this.#earliest(untilUs))
      this.#publishNext(ring);
    for (const ring of this.#rings) {
      Atomics.store(ring.cursors, TraceCursor.READ, ring.read);
      const records = Atomics.exchange(ring.cursors, TraceCursor.DROPPED, 0);
      if (records > 0) this.#publishDropped(ring.thread, records, untilUs);
    }
  }

  /** Publishes the rest. The threads have ended. */
  close(): void {
    clearInterval(this.#timer);
    this.publish(native().monotonicUs());
  }

  /** The ring whose next record is the oldest, if there is one up to that time. */
  #earliest(untilUs: number): Ring | undefined {
    let earliest: Ring | undefined;
    let atUs = untilUs;
    for (const ring of this.#rings) {
      if (ring.read === ring.written) continue;
      const timestampUs = ring.records[recordAt(ring.read) + 1];
      if (timestampUs > atUs || (timestampUs === atUs && earliest !== undefined)) continue;
      earliest = ring;
      atUs = timestampUs;
    }
    return earliest;
  }

  #publishNext(ring: Ring): void {
    const at = recordAt(ring.read);
    const point = ring.records[at];
    if (channels[point].hasSubscribers) channels[point].publish(this.#message(ring.thread, ring.records, at));
    ring.read = (ring.read + 1) | 0;
  }

  #publishDropped(thread: string, records: number, timestampUs: number): void {
    const message: TraceMessage = { name: TRACE_DROPPED, side: this.#side, thread, timestampUs, values: { records } };
    droppedChannel.publish(message);
  }

  #message(thread: string, records: Float64Array, at: number): TraceMessage {
    const point = records[at];
    const values: Record<string, number | string> = {};
    for (const [i, [name, kind]] of valueNames[point].entries()) {
      const value = records[at + 2 + i];
      const told = (this.#names as Record<string, readonly string[] | undefined>)[kind]?.[value];
      // "Infinity" (a rest without an end, a threshold without a limit), as JSON has no number for it.
      values[name] = told ?? (Number.isFinite(value) ? value : String(value));
    }
    return { name: tracePointNames[point], side: this.#side, thread, timestampUs: records[at + 1], values };
  }
}
