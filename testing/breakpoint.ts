/**
 * A trace point at which a thread of the engine is made to fail, or to wait until the test has done
 * something: faults and meetings at exactly known steps.
 */
import { BreakAction, createTraceWords, TraceMode, TraceWord } from '#lib/trace/trace.js';
import { type TracePointName, tracePointNames } from '#lib/trace/trace-points.js';

/** Milliseconds in which a thread must come to a breakpoint that is waited for. */
const REACHED_WITHIN_MS = 20_000;

export class Breakpoint {
  readonly #words: Int32Array<SharedArrayBuffer>;

  /**
   * `words`: the `traceWords` of the side whose threads it is for. Absent: new ones, to be given to the side when
   * it is made, for points that its threads come to at once.
   */
  constructor(words = createTraceWords()) {
    this.#words = new Int32Array(words);
  }

  get words(): SharedArrayBuffer {
    return this.#words.buffer;
  }

  /** The thread that comes there after it was passed `skip` times throws. */
  failAt(point: TracePointName, skip = 0): void {
    this.#set(point, skip, BreakAction.FAIL);
  }

  /** The thread that comes there after it was passed `skip` times waits for {@link release}. */
  waitAt(point: TracePointName, skip = 0): void {
    this.#set(point, skip, BreakAction.WAIT);
  }

  get isReached(): boolean {
    return Atomics.load(this.#words, TraceWord.BREAK_REACHED) === 1;
  }

  /** Resolved once a thread has come there. */
  async reached(): Promise<void> {
    const { value } = Atomics.waitAsync(this.#words, TraceWord.BREAK_REACHED, 0, REACHED_WITHIN_MS);
    if ((await value) === 'timed-out') throw new Error(`no thread came to the breakpoint in ${REACHED_WITHIN_MS} ms`);
  }

  release(): void {
    Atomics.store(this.#words, TraceWord.BREAK_RELEASED, 1);
    Atomics.notify(this.#words, TraceWord.BREAK_RELEASED);
  }

  #set(point: TracePointName, skip: number, action: number): void {
    this.#words[TraceWord.BREAK_POINT] = tracePointNames.indexOf(point);
    this.#words[TraceWord.BREAK_SKIP] = skip;
    this.#words[TraceWord.BREAK_ACTION] = action;
    this.#words[TraceWord.BREAK_REACHED] = 0;
    this.#words[TraceWord.BREAK_RELEASED] = 0;
    Atomics.or(this.#words, TraceWord.MODE, TraceMode.BREAK);
  }
}
