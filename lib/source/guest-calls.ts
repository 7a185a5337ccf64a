/**
 * What a migration asks of its guest at the source: to stop, to save, to be slowed down, to run on here.
 * Owner only.
 *
 * A guest may take as long as it likes; a migration that was cancelled or has failed does not wait for it.
 * What it was doing then still ends some time, and only after that is it started again.
 */
import { MigrationError } from '../errors.js';
import type { Guest } from '../memory/guest.js';
import type { RAMBlock } from '../memory/ram-block.js';

type What = 'stop' | 'save its device state' | 'start again at the source';

function guestFailed(what: What, cause: unknown): MigrationError {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new MigrationError('GUEST_FAILED', `the guest failed to ${what}: ${message}`, { cause });
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
  readonly #onLateFailure: (error: MigrationError) => void;
  readonly #abandoned: Promise<never>;
  #abandon: (reason: Error) => void = () => {};
  #isAbandoned = false;
  /** Settled when the guest is done with what it was asked last; undefined while nothing is asked. */
  #pending: Promise<void> | undefined;
  #ran = false;
  #isStopped = false;
  #throttlePercent = 0;

  /** `onLateFailure`: told what goes wrong when the migration has ended already. */
  constructor(guest: Guest, onLateFailure: (error: MigrationError) => void) {
    this.#guest = guest;
    this.#ram = guest.ramBlocks;
    this.#onLateFailure = onLateFailure;
    this.#abandoned = new Promise<never>((_, reject) => {
      this.#abandon = reject;
    });
    this.#abandoned.catch(() => {});
  }

  /** The migration has asked it to stop, and not to run on. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Percentage of the time that it is held back; 0 while it is not. */
  get throttlePercent(): number {
    return this.#throttlePercent;
  }

  /** Holds it back for `percent` of the time. Throws GUEST_FAILED with what the guest threw. */
  throttle(percent: number): void {
    if (percent === this.#throttlePercent) return;
    this.#throttlePercent = percent;
    try {
      this.#guest.throttle?.(percent);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw new MigrationError('GUEST_FAILED', `the guest failed to be slowed down: ${message}`, { cause });
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

  /** Its device state. Throws as {@link stop}. */
  save(): Promise<Uint8Array> {
    return this.#call('save its device state', () => this.#guest.saveDeviceState());
  }

  /** The migration has ended for that reason: whoever waits for the guest waits no longer. */
  abandon(reason: Error): void {
    this.#isAbandoned = true;
    this.#abandon(reason);
  }

  /**
   * It was not moved, so it runs on here if it ran. Where it is still busy with a call that was given up, it
   * starts when that has settled, and this does not wait. Throws GUEST_FAILED.
   */
  async resume(): Promise<void> {
    this.#isStopped = false;
    if (!this.#ran) return;
    if (this.#pending === undefined) return this.#start();
    void this.#pending.then(() => this.#start()).catch(this.#onLateFailure);
  }

  async #start(): Promise<void> {
    if (this.#guest.running) return;
    try {
      await this.#guest.start();
    } catch (cause) {
      throw guestFailed('start again at the source', cause);
    }
  }

  #call<T>(what: What, ask: () => Promise<T>): Promise<T> {
    if (this.#isAbandoned) return this.#abandoned;
    const asked = (async () => ask())().catch((cause) => {
      throw guestFailed(what, cause);
    });
    const done = () => {
      this.#pending = undefined;
    };
    this.#pending = asked.then(done, done);
    return Promise.race([asked, this.#abandoned]);
  }
}
