/**
 * Named 32-bit words over shared memory that threads set and wait for: states, requests, hand-shakes.
 * Every change wakes whoever waits on that word. The names and who writes which stand where the
 * table is declared (source/source-signals.ts, destination/destination-signals.ts).
 */
export class Signals<Name extends string> {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #index: ReadonlyMap<Name, number>;

  /** `buffer` shares the words of another thread; absent, new ones are 0. */
  constructor(names: readonly Name[], buffer: SharedArrayBuffer = new SharedArrayBuffer(names.length * 4)) {
    this.#words = new Int32Array(buffer);
    this.#index = new Map(names.map((name, index) => [name, index]));
  }

  get buffer(): SharedArrayBuffer {
    return this.#words.buffer;
  }

  get(name: Name): number {
    return Atomics.load(this.#words, this.#at(name));
  }

  set(name: Name, value: number): void {
    Atomics.store(this.#words, this.#at(name), value);
    Atomics.notify(this.#words, this.#at(name));
  }

  /** Adds one and wakes the waiters: for words that only say "something has changed". */
  bump(name: Name): void {
    Atomics.add(this.#words, this.#at(name), 1);
    Atomics.notify(this.#words, this.#at(name));
  }

  /** Adds one and wakes nobody, which costs less: for words that are only looked at. */
  count(name: Name): void {
    Atomics.add(this.#words, this.#at(name), 1);
  }

  /** Sets the word to `to` if it is `from`; true if it was. */
  exchange(name: Name, from: number, to: number): boolean {
    const was = Atomics.compareExchange(this.#words, this.#at(name), from, to);
    if (was !== from) return false;
    Atomics.notify(this.#words, this.#at(name));
    return true;
  }

  /** Blocks this thread while the word is `value`, at most `timeoutMs`. Not for the main thread of a process. */
  waitWhile(name: Name, value: number, timeoutMs = Number.POSITIVE_INFINITY): void {
    Atomics.wait(this.#words, this.#at(name), value, timeoutMs);
  }

  #at(name: Name): number {
    return this.#index.get(name) as number;
  }
}
