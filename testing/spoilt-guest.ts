/** A stress guest behind an object that a test may change, to break the contract of guests in one place. */
import { readFileSync } from 'node:fs';
import type { Guest, RAMBlock, StressGuest } from '#lib/index.js';
import type { GuestKit } from '#lib/testing/index.js';
import { blockedIn } from './native-thread.ts';
import { stressKit } from './stress-kit.ts';

export class SpoiltGuest implements Guest {
  readonly stress: StressGuest;
  /** How often each was called. */
  readonly calls = { start: 0, stop: 0, save: 0, load: 0, close: 0 };
  died?: Promise<Error>;

  constructor(stress: StressGuest) {
    this.stress = stress;
  }

  get ramBlocks(): readonly RAMBlock[] {
    return this.stress.ramBlocks;
  }

  get running(): boolean {
    return this.stress.running;
  }

  get vcpuThreads(): readonly number[] {
    return this.stress.vcpuThreads;
  }

  start(): Promise<void> {
    this.calls.start += 1;
    return this.stress.start();
  }

  stop(): Promise<void> {
    this.calls.stop += 1;
    return this.stress.stop();
  }

  throttle(percent: number): void {
    this.stress.throttle(percent);
  }

  async saveDeviceState(): Promise<Uint8Array> {
    this.calls.save += 1;
    return this.stress.saveDeviceState();
  }

  loadDeviceState(state: Uint8Array): Promise<void> {
    this.calls.load += 1;
    return this.stress.loadDeviceState(state);
  }

  close(): void {
    this.calls.close += 1;
    this.stress.close();
  }
}

/** Makes each guest of the class, and changes what `spoilt` has of the kit. */
export function kitOf(Spoilt: typeof SpoiltGuest, spoilt: Partial<GuestKit<SpoiltGuest>> = {}): GuestKit<SpoiltGuest> {
  return {
    create: async () => new Spoilt(await stressKit.create()),
    empty: async () => new Spoilt(await stressKit.empty()),
    verify: ({ stress }) => stressKit.verify(stress),
    progress: ({ stress }) => stressKit.progress(stress),
    close: (guest) => guest.close(),
    work: ({ stress }) => stress.stats.writesHere,
    ...(stressKit.foreignStates === undefined ? {} : { foreignStates: stressKit.foreignStates }),
    ...spoilt,
  };
}

/** Whether a thread of this process is blocked in a page fault. */
export function waitsForAPage(threadId: number): boolean {
  return Number.parseInt(readFileSync(`/proc/self/task/${threadId}/syscall`, 'utf8'), 10) === blockedIn.fault;
}

/** What a guest does that can't leave its memory alone: every millisecond, until `clearInterval`. */
export function repeatedly(what: () => void): NodeJS.Timeout {
  return setInterval(what, 1);
}
