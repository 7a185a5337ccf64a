/** What is migrated: RAM and device state. The engine knows no more of a guest than this. */
import type { Configuration } from '../wire/encode.js';
import type { RamBlockEntry, SectionEntry } from '../wire/messages.js';
import type { RAMBlock } from './ram-block.js';
import type { WriteLogDescriptor } from './write-log.js';

/** A machine that is none of ours, by what its stream says of it besides RAM and devices. Plain data. */
export interface Machine {
  readonly configuration: Configuration;
  /** As which section its RAM is sent: PART and END name the number, and its devices have others. */
  readonly ramSection: SectionEntry;
  /** JSON, as it follows a precopy. */
  readonly vmDescription?: string;
}

/** A machine as another one has to be to take its place. Plain data. */
export interface MachineLike {
  /** The name that its configuration gives it. */
  readonly machine: string;
  readonly blocks: readonly { readonly idstr: string; readonly usedLength: number }[];
  /** Its devices; a section may be of that version or an older one. */
  readonly devices: readonly Pick<SectionEntry, 'idstr' | 'instanceId' | 'versionId'>[];
}

export interface Guest {
  /**
   * Only of a machine that is none of ours, such as QEMU's. Its device state is its device sections, one behind
   * the other, each from its type byte to its footer, exactly as they stand on the stream.
   */
  readonly machine?: Machine;
  /** In the order they go on the wire. Where they change, a migration that is under way fails at its stop. */
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
  /**
   * Resolved with the reason where the guest can't go on by its own fault: a vCPU that shut down, a worker that
   * ended. Absent, or never settled: it can.
   */
  readonly died?: Promise<Error>;
  /**
   * The kernel touches RAM on its behalf, as KVM or read(2) does: a userfaultfd that sees faults of user mode only
   * won't do for it. False when absent.
   */
  readonly faultsInKernel?: boolean;
  /** How what it writes is found while it migrates. Absent: by asynchronous write protection of its RAM. */
  readonly writeLog?: WriteLogDescriptor | undefined;
  /** All that is not RAM, as bytes of the guest's own format. Only while stopped. */
  saveDeviceState(): Promise<Uint8Array>;
  /**
   * Takes over what {@link saveDeviceState} gave. May touch RAM that is still to come. `vmDescription`: where the
   * guest is a {@link Machine} and the stream had one.
   */
  loadDeviceState(state: Uint8Array, vmDescription?: string): Promise<void>;
}

/** Makes a guest of whatever machine comes, which {@link Guest.machine} of it then is. */
export interface MachineReceiver {
  /** Nothing else is taken: what differs is refused as soon as the source says it. Absent: any machine. */
  readonly like?: MachineLike;
  receive(machine: Machine, blocks: readonly RamBlockEntry[]): Guest | Promise<Guest>;
}
