/**
 * Tracing as one thread does it: a point costs one load of a shared word while nobody looks, and else a
 * record in a ring of this thread's own. It never blocks: a full ring drops the record and counts it.
 *
 * The same word lets a test have a thread fail or wait at a point (testing/breakpoint.ts).
 */
import { native } from '../native.js';
import {
  type BarePointName,
  TRACE_VALUES_MAX,
  type TracePointName,
  tracePointNames,
  type ValuedPointName,
} from './trace-points.js';

/** Words shared by all threads of one side. */
export const TraceWord = {
  /** Not 0: there is something to do at a point. A value of {@link TraceMode}, or several or-ed. */
  MODE: 0,
  /** Index of the point to break at; that many times it is passed first; a value of {@link BreakAction}. */
  BREAK_POINT: 1,
  BREAK_SKIP: 2,
  BREAK_ACTION: 3,
  /** Set to 1 by the thread that has come there; set to 1 by the test to let it go on. */
  BREAK_REACHED: 4,
  BREAK_RELEASED: 5,
} as const;

export const TraceMode = { OFF: 0, RECORD: 1, BREAK: 2 } as const;
export const BreakAction = { FAIL: 0, WAIT: 1 } as const;
const TRACE_WORDS = 6;

/** The words of one side: nothing to do at any point. */
export function createTraceWords(): SharedArrayBuffer {
  return new SharedArrayBuffer(TRACE_WORDS * 4);
}

/** A record: index of the point, microseconds of CLOCK_MONOTONIC, the values. */
export const TRACE_RECORD_NUMBERS = 2 + TRACE_VALUES_MAX;

/** Numbers before the records: how many were written, read, dropped. */
export const TraceCursor = { WRITTEN: 0, READ: 1, DROPPED: 2 } as const;
export const TRACE_CURSOR_WORDS = 4;

/** What a thread needs to trace. */
export interface TraceDescriptor {
  readonly words: SharedArrayBuffer;
  /** Absent: nobody records. */
  readonly ring: SharedArrayBuffer | undefined;
}

const indexOfPoint: ReadonlyMap<string, number> = new Map(tracePointNames.map((name, index) => [name, index]));

/** Of a thread whose trace points do nothing. */
export const untraced = (): TraceDescriptor => ({ words: createTraceWords(), ring: undefined });

export class Trace {
  readonly #words: Int32Array;
  readonly #cursors: Int32Array | undefined;
  readonly #records: Float64Array | undefined;
  readonly #capacity: number;

  constructor({ words, ring }: TraceDescriptor) {
    this.#words = new Int32Array(words);
    if (ring === undefined) {
      this.#capacity = 0;
      return;
    }
    this.#cursors = new Int32Array(ring, 0, TRACE_CURSOR_WORDS);
    this.#records = new Float64Array(ring, TRACE_CURSOR_WORDS * 4);
    this.#capacity = this.#records.length / TRACE_RECORD_NUMBERS;
  }

  /** This thread is at that point. */
  at(name: BarePointName): void;
  at(name: ValuedPointName, first: number, second?: number, third?: number, fourth?: number): void;
  // Four numbers, as a rest parameter would make an array at each call.
  at(name: TracePointName, first = 0, second = 0, third = 0, fourth = 0): void {
    const mode = Atomics.load(this.#words, TraceWord.MODE);
    if (mode === TraceMode.OFF) return;
    const point = indexOfPoint.get(name) as number;
    if ((mode & TraceMode.RECORD) !== 0) this.#record(point, first, second, third, fourth);
    if ((mode & TraceMode.BREAK) !== 0) this.#break(point, name);
  }

  #record(point: number, first: number, second: number, third: number, fourth: number): void {
    if (this.#cursors === undefined || this.#records === undefined) return;
    const written = Atomics.load(this.#cursors, TraceCursor.WRITTEN);
    if (((written - Atomics.load(this.#cursors, TraceCursor.READ)) | 0) >= this.#capacity) {
      Atomics.add(this.#cursors, TraceCursor.DROPPED, 1);
      return;
    }
    const at = ((written >>> 0) % this.#capacity) * TRACE_RECORD_NUMBERS;
    this.#records[at] = point;
    this.#records[at + 1] = native().monotonicUs();
    this.#records[at + 2] = first;
    this.#records[at + 3] = second;
    this.#records[at + 4] = third;
    this.#records[at + 5] = fourth;
    Atomics.store(this.#cursors, TraceCursor.WRITTEN, (written + 1) | 0);
  }

  #break(point: number, name: string): void {
    const words = this.#words;
    if (Atomics.load(words, TraceWord.BREAK_POINT) !== point) return;
    if (Atomics.sub(words, TraceWord.BREAK_SKIP, 1) !== 0) return;
    Atomics.store(words, TraceWord.BREAK_REACHED, 1);
    Atomics.notify(words, TraceWord.BREAK_REACHED);
    if (Atomics.load(words, TraceWord.BREAK_ACTION) === BreakAction.FAIL) throw new Error(`made to fail at ${name}`);
    Atomics.wait(words, TraceWord.BREAK_RELEASED, 0);
  }
}
