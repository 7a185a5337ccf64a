/**
 * A bounded queue of fixed-width records of unsigned 32-bit words over shared memory, from one
 * producer thread to one consumer thread.
 *
 * ```
 *            tail (consumer)        head (producer)
 *              v                      v
 *   | free | r5 | r6 | r7 | r8 | r9 | free | free |      positions count up for ever, modulo 2^32;
 *                                                        slot = position & (capacity - 1)
 * ```
 * A full ring holds the producer back: it waits until the consumer has taken something, or the ring
 * is closed. Nothing is ever dropped.
 */
const HEAD = 0;
const TAIL = 1;
const CLOSED = 2;
const CONTROL_WORDS = 4;

export class Ring {
  readonly #control: Int32Array<SharedArrayBuffer>;
  readonly #slots: Uint32Array<SharedArrayBuffer>;

  private constructor(
    readonly buffer: SharedArrayBuffer,
    readonly recordWords: number,
    readonly capacity: number,
  ) {
    this.#control = new Int32Array(buffer, 0, CONTROL_WORDS);
    this.#slots = new Uint32Array(buffer, CONTROL_WORDS * 4);
  }

  /** `capacity` records, a power of two. */
  static create(recordWords: number, capacity: number): Ring {
    if (capacity < 1 || (capacity & (capacity - 1)) !== 0)
      throw new RangeError(`ring capacity ${capacity} is no power of two`);
    return new Ring(new SharedArrayBuffer((CONTROL_WORDS + recordWords * capacity) * 4), recordWords, capacity);
  }

  /** The same ring in another thread. */
  static attach(buffer: SharedArrayBuffer, recordWords: number): Ring {
    return new Ring(buffer, recordWords, (buffer.byteLength / 4 - CONTROL_WORDS) / recordWords);
  }

  /** Records waiting; exact for producer and consumer when the other is still. */
  get length(): number {
    return (Atomics.load(this.#control, HEAD) - Atomics.load(this.#control, TAIL)) >>> 0;
  }

  /** Producer: appends one record, waiting while the ring is full. False if it was closed instead. */
  push(record: ArrayLike<number>): boolean {
    for (;;) {
      if (Atomics.load(this.#control, CLOSED) === 1) return false;
      const tail = Atomics.load(this.#control, TAIL);
      const head = Atomics.load(this.#control, HEAD);
      if ((head - tail) >>> 0 < this.capacity) {
        this.#slots.set(record, this.#slot(head));
        Atomics.store(this.#control, HEAD, (head + 1) | 0);
        return true;
      }
      Atomics.wait(this.#control, TAIL, tail);
    }
  }

  /** Consumer: reads the oldest record into `record` and leaves it where it is; false if there is none. */
  peek(record: Uint32Array): boolean {
    const tail = Atomics.load(this.#control, TAIL);
    if (tail === Atomics.load(this.#control, HEAD)) return false;
    const at = this.#slot(tail);
    for (let word = 0; word < this.recordWords; word += 1) record[word] = this.#slots[at + word];
    return true;
  }

  /** Consumer: takes the oldest record into `record`; false if there is none. */
  shift(record: Uint32Array): boolean {
    if (!this.peek(record)) return false;
    Atomics.add(this.#control, TAIL, 1); // wraps as it should
    Atomics.notify(this.#control, TAIL);
    return true;
  }

  /** Either side: no more records go in; a waiting producer returns. */
  close(): void {
    Atomics.store(this.#control, CLOSED, 1);
    // The producer waits on TAIL, whose value stays: notify is enough, as it looks at CLOSED again.
    Atomics.notify(this.#control, TAIL);
  }

  #slot(position: number): number {
    return ((position >>> 0) & (this.capacity - 1)) * this.recordWords;
  }
}
