/**
 * What a migration asks of its guest at the source: to stop, to save, to be slowed down, to run on here.
 * Owner only.
 *
 * A guest that does not answer in time, or dies, fails the migration; one that was cancelled or has failed does not
 * wait for it. What it was doing then still ends some time, and only after that is it started again.
 */
import { MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import { guestFailed, watchForDeath, withinLimit } from '../memory/guest-failure.js';
import type { RAMBlock } from '../memory/ram-block.js';

type What = 'stop' | 'save its device state' | 'start again at the source';

export interface GuestCallsOptions {
  /** Milliseconds that it may take for each thing it is asked; 0 is no limit. */
  readonly limitMs: number;
  /** Told once it has died, and that it will be asked nothing any more. */
  readonly onDeath: (death: MigrationError) => void;
  /** Told what goes wrong when the migration has ended already. */
  readonly onLateFailure: (error: MigrationError) => void;
}

function ramChanged(block: RAMBlock, now: RAMBlock | undefined): MigrationError {
  const what = now === undefined ? 'is gone' : `has ${now.size} bytes now and had ${block.size}`;
  return new MigrationError(
    'GUEST_FAILED',
    `the guest changed its RAM while it was migrated: block ${block.idstr} ${what}`,
    { hint: 'migrate it again: it goes as it is now, to a destination with blocks of the same sizes' },
  );
}

export class GuestCalls {
  readonly #guest: Guest;
  /** What is being sent. */
  readonly #ram: readonly RAMBlock[];
  readonly #options: GuestCallsOptions;
  readonly #unwatch: () => void;
  readonly #abandoned: Promise<never>;
  #abandon: (reason: Error) => void = () => {};
  #isAbandoned = false;
  /** Settled when the guest is done with what it was asked last; undefined while nothing is asked. */
  #pending: Promise<void> | undefined;
  #ran = false;
  #isStopped = false;
  #throttlePercent = 0;
  #death: MigrationError | undefined;

  constructor(guest: Guest, options: GuestCallsOptions) {
    this.#guest = guest;
    this.#ram = guest.ramBlocks;
    this.#options = options;
    this.#abandoned = new Promise<never>((_, reject) => {
      this.#abandon = reject;
    });
    this.#abandoned.catch(() => {});
    this.#unwatch = watchForDeath(guest, (death) => this.#die(death));
  }

  /** The migration has asked it to stop, and not to run on. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Percentage of the time that it is held back; 0 while it is not. */
  get throttlePercent(): number {
    return this.#throttlePercent;
  }

  /** That it died, while the migration went on. */
  get death(): MigrationError | undefined {
    return this.#death;
  }

  /** Holds it back for `percent` of the time. Throws GUEST_FAILED with what the guest threw. */
  throttle(percent: number): void {
    if (percent === this.#throttlePercent || this.#death !== undefined) return;
    this.#throttlePercent = percent;
    try {
      this.#guest.throttle?.(percent);
    } catch (cause) {
      throw guestFailed('be slowed down', cause);
    }
  }

  /**
   * Whether it ran. Throws GUEST_FAILED, also where its RAM has changed, or the reason once {@link abandon} was called.
   */
  async stop(): Promise<boolean> {
    if (this.#isAbandoned) return this.#abandoned;
    this.#ran = this.#guest.running;
    this.#isStopped = true;
    this.throttle(0);
    await this.#call('stop', () => this.#guest.stop());
    const now = this.#guest.ramBlocks;
    for (const [index, block] of this.#ram.entries()) {
      if (now[index]?.handle !== block.handle) throw ramChanged(block, now[index]);
    }
    return this.#ran;
  }

  /** Its device state. Throws as {@link stop}, and where somebody has started it meanwhile. */
  async save(): Promise<Uint8Array> {
    const state = await this.#call('save its device state', () => this.#guest.saveDeviceState());
    if (this.#guest.running) throw guestFailed('save its device state', new Error('it was started meanwhile'));
    return state;
  }

  /** The migration has ended for that reason: whoever waits for the guest waits no longer. */
  abandon(reason: Error): void {
    this.#isAbandoned = true;
    this.#abandon(reason);
  }

  /**
   * It was not moved, so it runs on here if it ran and has not died. Where it is still busy with a call that was
   * given up, it starts when that has settled, and this does not wait. Throws GUEST_FAILED.
   */
  async resume(): Promise<void> {
    this.#isStopped = false;
    if (!this.#ran) return;
    if (this.#pending === undefined) return this.#start();
    void this.#pending.then(() => this.#start()).catch(this.#options.onLateFailure);
  }

  /** The migration has ended; whether the guest lives is no concern of it any more. */
  close(): void {
    this.#unwatch();
  }

  #die(death: MigrationError): void {
    this.#death = death;
    this.abandon(death);
    this.#options.onDeath(death);
  }

  async #start(): Promise<void> {
    if (this.#guest.running || this.#death !== undefined) return;
    const what = 'start again at the source';
    await withinLimit(
      what,
      this.#ask(what, () => this.#guest.start()),
      this.#options.limitMs,
    );
  }

  #call<T>(what: What, ask: () => Promise<T>): Promise<T> {
    if (this.#isAbandoned) return this.#abandoned;
    const asked = this.#ask(what, ask);
    const done = () => {
      this.#pending = undefined;
    };
    this.#pending = asked.then(done, done);
    return withinLimit(what, Promise.race([asked, this.#abandoned]), this.#options.limitMs);
  }

  /** What it answers, whenever that is. Throws GUEST_FAILED with what the guest threw. */
  async #ask<T>(what: What, ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (cause) {
      throw guestFailed(what, cause);
    }
  }
}
