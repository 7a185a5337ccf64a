/**
 * A lock over shared memory that is given in the order in which it was asked for: of two threads that take
 * it again and again, neither starves the other. Not for the main thread of a process, nor to be taken twice.
 */
const NEXT_TICKET = 0;
const NOW_SERVED = 1;
const WORDS = 2;

export class FairLock {
  readonly #words: Int32Array<SharedArrayBuffer>;

  /** `buffer` shares the lock of another thread. */
  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(WORDS * 4)) {
    this.#words = new Int32Array(buffer);
  }

  get buffer(): SharedArrayBuffer {
    return this.#words.buffer;
  }

  /** Waits for its turn. Whoever has the lock must not block for long, and must release it on every way out. */
  acquire(): void {
    const words = this.#words;
    const ticket = Atomics.add(words, NEXT_TICKET, 1);
    for (;;) {
      const served = Atomics.load(words, NOW_SERVED);
      if (served === ticket) return;
      Atomics.wait(words, NOW_SERVED, served);
    }
  }

  release(): void {
    const words = this.#words;
    const next = (Atomics.add(words, NOW_SERVED, 1) + 1) | 0;
    if (next !== Atomics.load(words, NEXT_TICKET)) Atomics.notify(words, NOW_SERVED);
  }
}
