/**
 * Named counters over shared memory. Each has one thread that writes it and any number that read;
 * an aligned double is stored whole, so a reader sees an old value or a new one, never a mixture.
 */
export class Counters<Name extends string> {
  readonly #values: Float64Array<SharedArrayBuffer>;
  readonly #index: ReadonlyMap<Name, number>;

  /** `buffer` shares the counters of another thread; absent, new ones are 0. */
  constructor(
    readonly names: readonly Name[],
    buffer: SharedArrayBuffer = new SharedArrayBuffer(names.length * 8),
  ) {
    this.#values = new Float64Array(buffer);
    this.#index = new Map(names.map((name, index) => [name, index]));
  }

  get buffer(): SharedArrayBuffer {
    return this.#values.buffer;
  }

  get(name: Name): number {
    return this.#values[this.#index.get(name) as number];
  }

  set(name: Name, value: number): void {
    this.#values[this.#index.get(name) as number] = value;
  }

  add(name: Name, amount: number): void {
    this.#values[this.#index.get(name) as number] += amount;
  }

  /** All of them by name, at about this moment. */
  snapshot(): Record<Name, number> {
    return Object.fromEntries(this.names.map((name) => [name, this.get(name)])) as Record<Name, number>;
  }
}
