/**
 * A stress guest that fails or dies where a test says, and that tells where it runs: one such guest at each side, and a
 * place that both report to, so that a moment in which both run does not go unseen.
 */
import type { Guest, RAMBlock, StressGuest } from '#lib/index.js';

export type GuestCall = 'stop' | 'save' | 'load' | 'start';

/**
 * How a call goes wrong, with nothing done to the guest: it throws; it never comes back, or not before
 * {@link ObservedGuest.answer}, and is carried out then; the guest dies of it.
 */
export interface GuestFault {
  readonly call: GuestCall;
  readonly how: 'throws' | 'hangs' | 'dies';
}

/** Which of the sides' guests run, and whether both ever did. */
export class Whereabouts {
  readonly #running = new Set<string>();
  /** Both ran at the same time: two guests with one identity. */
  ranTwice = false;

  set(side: string, running: boolean): void {
    if (running) this.#running.add(side);
    else this.#running.delete(side);
    this.ranTwice ||= this.#running.size > 1;
  }
}

export class ObservedGuest implements Guest {
  readonly stress: StressGuest;
  readonly #side: string;
  readonly #whereabouts: Whereabouts;
  readonly #faults: readonly GuestFault[];
  #hang = () => {};
  #stopped = () => {};
  /** Resolved once it has been stopped. */
  readonly stopped = new Promise<void>((resolve) => {
    this.#stopped = resolve;
  });
  #answer = () => {};
  readonly #answers = new Promise<void>((resolve) => {
    this.#answer = resolve;
  });
  #die: (reason: Error) => void = () => {};
  readonly died = new Promise<Error>((resolve) => {
    this.#die = resolve;
  });
  /** Resolved once it was asked what it never answers. */
  readonly hangs = new Promise<void>((resolve) => {
    this.#hang = resolve;
  });

  constructor(stress: StressGuest, side: string, whereabouts: Whereabouts, faults: readonly GuestFault[]) {
    this.stress = stress;
    this.#side = side;
    this.#whereabouts = whereabouts;
    this.#faults = faults;
  }

  get ramBlocks(): readonly RAMBlock[] {
    return this.stress.ramBlocks;
  }

  get running(): boolean {
    return this.stress.running;
  }

  /** Answers what it was asked and has not answered. */
  answer(): void {
    this.#answer();
  }

  /** Says that it died. Its vCPUs stand still then, or wait for pages. */
  die(): void {
    this.stress.throttle(99);
    this.#die(new Error('vCPU 0 shut down'));
  }

  async start(): Promise<void> {
    await this.#asked('start');
    this.#whereabouts.set(this.#side, true);
    await this.stress.start();
  }

  async stop(): Promise<void> {
    await this.#asked('stop');
    await this.stress.stop();
    this.#whereabouts.set(this.#side, false);
    this.#stopped();
  }

  async saveDeviceState(): Promise<Uint8Array> {
    await this.#asked('save');
    return this.stress.saveDeviceState();
  }

  async loadDeviceState(state: Uint8Array): Promise<void> {
    await this.#asked('load');
    await this.stress.loadDeviceState(state);
  }

  async #asked(call: GuestCall): Promise<void> {
    const fault = this.#faults.find((each) => each.call === call);
    if (fault === undefined) return;
    if (fault.how === 'throws') throw new Error(`the guest refuses to ${call}`);
    if (fault.how === 'dies') this.die();
    this.#hang();
    await this.#answers;
  }
}
