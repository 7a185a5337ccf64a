/**
 * One run of one check: makes its guests by the kit, waits for nothing longer than it may, and ends all that it made.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Guest } from '../memory/guest.js';
import { native } from '../native.js';
import type { GuestKit } from './guest-kit.js';

/** Milliseconds between two looks at a fact that nobody announces. */
const LOOK_MS = 2;

/** What a guest must do, and how the kit finds out. */
export interface ContractRule {
  /** A sentence of behaviour, and the name of the check. */
  readonly name: string;
  /** What the contract says. */
  readonly rule: string;
  /** What to look at in a guest that breaks it. */
  readonly mend: string;
  /** Throws with what was seen where the guest breaks it. */
  check<G extends Guest>(run: ContractRun<G>): Promise<void>;
}

export class ContractRun<G extends Guest> {
  readonly kit: GuestKit<G>;
  readonly timeoutMs: number;
  readonly #guests = new Set<G>();

  /** `timeoutMs` is for each thing that is waited for. */
  constructor(kit: GuestKit<G>, timeoutMs: number) {
    this.kit = kit;
    this.timeoutMs = timeoutMs;
  }

  /** A guest with something in its RAM; stopped. */
  async create(): Promise<G> {
    return this.#keep(await this.within('kit.create()', this.kit.create()));
  }

  /** One to be filled. */
  async empty(): Promise<G> {
    return this.#keep(await this.within('kit.empty()', this.kit.empty()));
  }

  /** One that has got somewhere, and runs. */
  async createRunning(): Promise<G> {
    const guest = await this.create();
    await this.start(guest);
    await this.progress(guest);
    return guest;
  }

  start(guest: Guest): Promise<void> {
    return this.within('start()', guest.start());
  }

  stop(guest: Guest): Promise<void> {
    return this.within('stop()', guest.stop());
  }

  progress(guest: G): Promise<void> {
    return this.within('kit.progress()', this.kit.progress(guest));
  }

  verify(guest: G): Promise<void> {
    return this.within('kit.verify()', this.kit.verify(guest));
  }

  async closeGuest(guest: G): Promise<void> {
    this.#guests.delete(guest);
    await this.within('kit.close()', (async () => this.kit.close(guest))());
  }

  /** It stands still with its memory whole, and goes on from there. */
  async requireGoesOn(guest: G): Promise<void> {
    await this.verify(guest);
    await this.start(guest);
    await this.requireRunsOn(guest);
  }

  /** It runs, and its memory is whole. */
  async requireRunsOn(guest: G): Promise<void> {
    require(guest.running, 'running is false, of a guest that should run');
    await this.progress(guest);
    await this.stop(guest);
    await this.verify(guest);
  }

  /** What `promise` gives; throws, naming `what`, where it takes longer than so many things may. */
  async within<T>(what: string, promise: Promise<T>, things = 1): Promise<T> {
    const bound = new AbortController();
    const limitMs = things * this.timeoutMs;
    const tooLate = delay(limitMs, undefined, { signal: bound.signal }).then(() => {
      throw new Error(`${what} has not come to its end within ${limitMs / 1000} s`);
    });
    tooLate.catch(() => {}); // also where it is not waited for any more
    try {
      return await Promise.race([promise, tooLate]);
    } finally {
      bound.abort();
    }
  }

  /** True once it holds; false where it does not in time. */
  async comesTrue(holds: () => boolean): Promise<boolean> {
    const endUs = native().monotonicUs() + this.timeoutMs * 1000;
    while (!holds()) {
      if (native().monotonicUs() > endUs) return false;
      await delay(LOOK_MS);
    }
    return true;
  }

  /** Whatever came of it, the next check begins with nothing of this one. */
  async close(): Promise<void> {
    for (const guest of this.#guests) {
      if (guest.running) await this.stop(guest).catch(() => {}); // it is closed all the same
      await this.closeGuest(guest);
    }
  }

  #keep(guest: G): G {
    this.#guests.add(guest);
    return guest;
  }
}

/** Throws `seen` where it does not hold. */
export function require(holds: boolean, seen: string): asserts holds {
  if (!holds) throw new Error(seen);
}

/** What an attempt threw, or undefined where it succeeded. */
export async function failureOf(attempt: Promise<unknown>): Promise<unknown> {
  try {
    await attempt;
    return undefined;
  } catch (thrown) {
    return thrown ?? new Error('nothing');
  }
}
