/**
 * Auto-converge: by how much the guest is slowed down while precopy does not get ahead of what it writes.
 * QEMU's rule. Pure; migration thread only.
 */
import type { Parameters } from '../options.js';
import type { DirtyPeriod } from './dirty-rate.js';

/** Periods in which the guest wrote too much before it is slowed down, or slowed down more. */
const PERIODS = 2;

export class AutoConverge {
  readonly #parameters: Parameters;
  #periods = 0;
  #percent = 0;

  constructor(parameters: Parameters) {
    this.#parameters = parameters;
  }

  /**
   * A period is over: the percentage of the time that the guest is to be held back from now on, or undefined
   * where that stays as it is. A period that is not too bad does not undo one before it that was.
   */
  next({ dirtiedBytes, transferredBytes }: DirtyPeriod): number | undefined {
    const { throttleTriggerThreshold, cpuThrottleInitial, cpuThrottleIncrement, maxCpuThrottle } = this.#parameters;
    if (dirtiedBytes <= (transferredBytes * throttleTriggerThreshold) / 100) return undefined;
    this.#periods += 1;
    if (this.#periods < PERIODS) return undefined;
    this.#periods = 0;
    const before = this.#percent;
    this.#percent = before === 0 ? cpuThrottleInitial : Math.min(before + cpuThrottleIncrement, maxCpuThrottle);
    return this.#percent === before ? undefined : this.#percent;
  }
}
