/**
 * One direction of a connection: bytes read from one socket, written to the other at the pace of the link.
 *
 * Invariants: what passes is a prefix of what came, in order, changed only where a fault says so; an end or a
 * reset keeps its place behind the bytes before it; no more is held than the line may hold and two reads.
 */
import type { Duplex } from 'node:stream';
import type { Fault, FaultPlan } from './faults.js';
import { type Bandwidth, type Latency, SLACK_MS } from './pacing.js';

/** How a side stopped sending: in good order, or by a failure of its socket. */
export type Ending = 'end' | 'reset';

export interface PipeOptions {
  readonly from: Duplex;
  readonly to: Duplex;
  /** Shared by all that go this way. */
  readonly bandwidth: Bandwidth;
  readonly latency: Latency;
  /** Bytes that may be on their way at once; 0 where they take no time. */
  readonly lineBytes: number;
  readonly faults: FaultPlan;
  /** Milliseconds from any start. */
  readonly now: () => number;
  readonly events: PipeEvents;
}

export interface PipeEvents {
  /** About to be written. The bytes hold only during the call. */
  passed(bytes: Uint8Array, offset: number): void;
  /** A fault happens; a stall or cut is for the callee to carry out. */
  fault(fault: Fault): void;
  /** Everything before the end has been written; the callee hands it on. */
  ended(how: Ending): void;
}

/** Bytes, or the end of them. */
type Item = Uint8Array | Ending;

interface Travelling {
  what: Item;
  /** When it arrives. */
  readonly at: number;
}

/** What a piece takes of the line at least, so that many small ones can't fill the memory. */
const PIECE_BYTES_MIN = 512;

/** No timer can wait longer. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const cost = (what: Item): number => (typeof what === 'string' ? 0 : Math.max(PIECE_BYTES_MIN, what.length));

export class Pipe {
  readonly #options: PipeOptions;
  /** Read, and not yet on the link. */
  readonly #waiting: Item[] = [];
  readonly #line: Travelling[] = [];
  #lineCost = 0;
  /** When the link takes more from this pipe. */
  #entersAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  /** The receiving socket holds as much as it will. */
  #blocked = false;
  #stalled = false;
  #over = false;
  /** Bytes handed to the receiving socket. */
  passed = 0;

  /** Reads from `from` once {@link start} is called. */
  constructor(options: PipeOptions) {
    this.#options = options;
    const { from, to } = options;
    from.pause();
    from.on('data', (bytes: Buffer) => this.#take(bytes));
    from.on('end', () => this.#take('end'));
    to.on('drain', () => {
      this.#blocked = false;
      this.#turn();
    });
  }

  /** Whether the end has been handed on, or the pipe abandoned. */
  get over(): boolean {
    return this.#over;
  }

  start(): void {
    this.#due();
    this.#turn();
  }

  /** The socket it reads from has failed: hands that on, behind what came before. */
  failed(): void {
    this.#take('reset');
  }

  /** Nothing moves until {@link resume}; nothing is read either. */
  stall(): void {
    this.#stalled = true;
    this.#turn();
  }

  resume(): void {
    this.#stalled = false;
    this.#turn();
  }

  /** Drops what is on its way, and all that is still read. */
  abandon(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
    this.#line.length = 0;
  }

  #take(what: Item): void {
    if (this.#over) return;
    this.#waiting.push(what);
    this.#turn();
  }

  /** Moves all that can move now; then waits for the time, or the socket, that lets more. */
  #turn(): void {
    if (this.#over) return;
    const now = this.#options.now();
    while (!this.#over && !this.#stalled && (this.#enter(now) || this.#deliver(now)));
    if (this.#over) return;
    const reads = !this.#stalled && this.#waiting.length === 0 && this.#hasRoom;
    if (reads) this.#options.from.resume();
    else this.#options.from.pause();
    this.#wake(now);
  }

  /** Without latency one piece at a time, so that a receiver that is slow slows the sender down. */
  get #hasRoom(): boolean {
    const { lineBytes } = this.#options;
    return lineBytes > 0 ? this.#lineCost < lineBytes : this.#line.length === 0 && !this.#blocked;
  }

  /** The next piece goes onto the link; false if none can. */
  #enter(now: number): boolean {
    if (this.#waiting.length === 0 || !this.#hasRoom || this.#entersAt > now + SLACK_MS) return false;
    const { bandwidth, latency } = this.#options;
    const next = this.#waiting[0];
    let what = next;
    if (typeof next !== 'string' && next.length > bandwidth.step) {
      what = next.subarray(0, bandwidth.step);
      this.#waiting[0] = next.subarray(bandwidth.step);
    } else {
      this.#waiting.shift();
    }
    this.#entersAt = bandwidth.take(typeof what === 'string' ? 0 : what.length, now);
    this.#line.push({ what, at: latency.arrival(this.#entersAt) });
    this.#lineCost += cost(what);
    return true;
  }

  /** What has arrived is written, as far as the faults let it; false if nothing has. */
  #deliver(now: number): boolean {
    const head = this.#line[0];
    if (head === undefined || head.at > now + SLACK_MS || this.#blocked) return false;
    const { what } = head;
    if (typeof what === 'string') {
      this.#over = true;
      this.#options.events.ended(what);
      return true;
    }
    const { faults, events } = this.#options;
    const count = faults.admit(what, this.passed, (fault) => events.fault(fault));
    this.#lineCost -= cost(what);
    if (count === what.length) {
      this.#line.shift();
    } else {
      head.what = what.subarray(count);
      this.#lineCost += cost(head.what);
    }
    if (count > 0) this.#pass(what.subarray(0, count));
    this.#due();
    return true;
  }

  #pass(bytes: Uint8Array): void {
    const { to, events } = this.#options;
    events.passed(bytes, this.passed);
    this.passed += bytes.length;
    if (!to.write(bytes)) this.#blocked = true;
  }

  #due(): void {
    const { faults, events } = this.#options;
    while (!this.#over && !this.#stalled) {
      const fault = faults.due(this.passed);
      if (fault === undefined) return;
      events.fault(fault);
    }
  }

  #wake(now: number): void {
    clearTimeout(this.#timer);
    if (this.#stalled) return;
    const enters = this.#waiting.length > 0 && this.#hasRoom ? this.#entersAt : Number.POSITIVE_INFINITY;
    const arrives = this.#line.length > 0 && !this.#blocked ? this.#line[0].at : Number.POSITIVE_INFINITY;
    const next = Math.min(enters, arrives);
    if (next === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#turn(), Math.min(next - now, TIMER_MS_MAX));
  }
}
