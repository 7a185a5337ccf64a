/** A list that stays small however long the stream is: beyond its limit items are only counted. */

const MAX_ITEMS = 10_000;

export class BoundedList<T> {
  readonly items: T[] = [];
  /** How many were not kept. */
  omitted = 0;
  readonly #limit: number;

  constructor(limit = MAX_ITEMS) {
    this.#limit = limit;
  }

  /** The item that was added last, if it was kept: the one that a run can be folded into. */
  get last(): T | undefined {
    return this.omitted === 0 ? this.items.at(-1) : undefined;
  }

  add(item: T): void {
    if (this.items.length < this.#limit) this.items.push(item);
    else this.omitted++;
  }
}
