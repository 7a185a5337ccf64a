/**
 * The migration's parameters, which may be changed while it runs: the owner writes them, the migration thread reads
 * them where it needs them.
 */
import { defaultParameters, type Parameters } from '../options.js';
import { Counters } from '../threads/counters.js';

const names = Object.keys(defaultParameters) as (keyof Parameters)[];

export class LiveParameters {
  readonly #values: Counters<keyof Parameters>;

  /** `buffer` shares those of another thread; absent, they are the defaults. */
  constructor(buffer?: SharedArrayBuffer) {
    this.#values = new Counters(names, buffer);
    if (buffer === undefined) this.set(defaultParameters);
  }

  get buffer(): SharedArrayBuffer {
    return this.#values.buffer;
  }

  get(name: keyof Parameters): number {
    return this.#values.get(name);
  }

  /** All of them as they are now. */
  all(): Parameters {
    return this.#values.snapshot();
  }

  /** They have been checked. */
  set(parameters: Parameters): void {
    for (const name of names) this.#values.set(name, parameters[name]);
  }
}
