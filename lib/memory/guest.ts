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
  /** All that is not RAM, as bytes of the guest's own format. Only while stopped. */
  saveDeviceState(): Promise<Uint8Array>;
  /** Takes over what {@link saveDeviceState} gave. May touch RAM that is still to come. */
  loadDeviceState(state: Uint8Array): Promise<void>;
}
