/**
 * A stress guest that fails where a test says, and that tells where it runs: one such guest at each side, and a
 * place that both report to, so that a moment in which both run does not go unseen.
 */
import type { Guest, RAMBlock, StressGuest } from '#lib/index.js';

export type GuestCall = 'stop' | 'save' | 'load' | 'start';

/** How a call goes wrong: it throws, or it never comes back; nothing has been done to the guest. */
export interface GuestFault {
  readonly call: GuestCall;
  readonly how: 'throws' | 'hangs';
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

  async start(): Promise<void> {
    await this.#asked('start');
    this.#whereabouts.set(this.#side, true);
    await this.stress.start();
  }

  async stop(): Promise<void> {
    await this.#asked('stop');
    await this.stress.stop();
    this.#whereabouts.set(this.#side, false);
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
    this.#hang();
    await new Promise(() => {});
  }
}
