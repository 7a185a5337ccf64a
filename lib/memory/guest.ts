/** What is migrated: RAM and device state. The engine knows no more of a guest than this. */
import type { RAMBlock } from './ram-block.js';

export interface Guest {
  /** In the order they go on the wire. */
  readonly ramBlocks: readonly RAMBlock[];
  /** Whether its vCPUs run. */
  readonly running: boolean;
  start(): Promise<void>;
  /** Resolved: no vCPU touches RAM any more. */
  stop(): Promise<void>;
  /**
   * Holds the vCPUs back for that percentage of the time, 0 to 99, until told otherwise: what auto-converge
   * does to a guest that dirties memory faster than it can be sent. Absent: this guest can't be slowed down.
   */
  throttle?(percent: number): void;
  /** Kernel thread ids of the vCPUs, for accounting how long each waits for pages. Absent: not known. */
  readonly vcpuThreads?: readonly number[];
  /** All that is not RAM, as bytes of the guest's own format. Only while stopped. */
  saveDeviceState(): Promise<Uint8Array>;
  /** Takes over what {@link saveDeviceState} gave. May touch RAM that is still to come. */
  loadDeviceState(state: Uint8Array): Promise<void>;
}
