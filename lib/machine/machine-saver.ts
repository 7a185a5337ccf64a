/**
 * The receiver of whatever machine comes, such as a QEMU's: it has no vCPUs to run it, but reads all of its RAM
 * while that arrives, and keeps the machine in a directory, from where `SavedMachine` sends it on.
 */
import { MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import type { Guest, Machine, MachineLike, MachineReceiver } from '../memory/guest.js';
import type { MemoryKind, RAMBlock } from '../memory/ram-block.js';
import type { RamBlockEntry } from '../wire/messages.js';
import { describeMachine, filesOf } from './describe-machine.js';
import { type DeviceSections, deviceSections } from './device-sections.js';
import { saveReceivedHalf } from './half-machine.js';
import { createMachineBlocks } from './machine-blocks.js';
import { readMachineLike } from './machine-files.js';
import { DEVICE_STATE_FILE, type Manifest, manifestText, VM_DESCRIPTION_FILE } from './manifest.js';
import { type RamDigests, RamReader } from './ram-reader.js';
import { SaveDirectory, saveFailed } from './save-directory.js';

export interface MachineSaverOptions {
  /** Where it is kept: a directory that is new, or empty. Absent: it is only read. */
  readonly directory?: string;
  /** Of the blocks whose pages are the host's; `anonymous` when absent. */
  readonly kind?: Exclude<MemoryKind, 'hugetlb'>;
  /** A directory with a saved machine: only one like that is taken, and any other refused by what differs. */
  readonly like?: string;
}

/** What came, once all of it is here. */
export interface ReceivedMachineInfo {
  readonly machine: string;
  /** Under QEMU's names, such as `running` or `paused`; undefined where the stream does not tell. */
  readonly runState: string | undefined;
  /** In stream order; lengths in bytes, SHA-256 in hexadecimal digits. */
  readonly blocks: readonly { readonly idstr: string; readonly length: number; readonly sha256: string }[];
  /** Bytes of RAM in pages that are not all zero. */
  readonly dataBytes: number;
  readonly deviceStateBytes: number;
  /** Device sections. */
  readonly devices: number;
  /** Where it is kept. */
  readonly directory: string | undefined;
}

/** As the migration brought it. */
interface DeviceState extends DeviceSections {
  readonly bytes: Uint8Array;
  readonly vmDescription: string | undefined;
}

/** The machine on this side: RAM, and a reader of it in place of vCPUs. */
class ReceivedMachine implements Guest {
  readonly ramBlocks: readonly RAMBlock[];
  readonly files: readonly string[];
  readonly reader: RamReader;
  readonly #machine: Machine;
  readonly #directory: SaveDirectory | undefined;
  /** Whether the source would have it run. */
  #isStarted = false;
  #deviceState: DeviceState | undefined;

  constructor(machine: Machine, blocks: readonly RAMBlock[], directory: SaveDirectory | undefined) {
    this.#machine = machine;
    this.ramBlocks = blocks;
    this.#directory = directory;
    this.files = filesOf(blocks);
    this.reader = new RamReader(
      blocks.map(({ descriptor }) => descriptor),
      directory && this.files.map((file) => directory.pathFor(file)),
    );
  }

  /** With its description, once that has come. */
  get machine(): Machine {
    const vmDescription = this.#deviceState?.vmDescription;
    return vmDescription === undefined ? this.#machine : { ...this.#machine, vmDescription };
  }

  get running(): boolean {
    return this.#isStarted;
  }

  /** The reader, which waits for pages as a vCPU does. */
  get vcpuThreads(): readonly number[] {
    return this.reader.threadIds;
  }

  get deviceState(): DeviceState | undefined {
    return this.#deviceState;
  }

  /**
   * The reading begins with this. Behind a precopy, which alone has a VM description, all RAM is here: then it is
   * done and on disk before this resolves, so that a source that waits for an answer is not told too early.
   */
  async loadDeviceState(bytes: Uint8Array, vmDescription?: string): Promise<void> {
    const copy = bytes.slice();
    this.#deviceState = { bytes: copy, vmDescription, ...deviceSections(copy) };
    this.reader.start();
    if (this.#directory === undefined) return;
    await this.#directory.write(DEVICE_STATE_FILE, copy);
    if (vmDescription === undefined) return;
    await this.#directory.write(VM_DESCRIPTION_FILE, vmDescription);
    await this.digests();
  }

  /** Rejects with SAVE_FAILED where it can't be written, or the thread's error. */
  async digests(): Promise<RamDigests> {
    const outcome = await this.reader.ended;
    if (outcome.kind === 'returned') return outcome.result;
    if (outcome.kind === 'kicked') throw new MigrationError('CANCELLED', 'the reading of RAM was ended');
    if (this.#directory === undefined) throw outcome.error;
    throw saveFailed(this.#directory.path, outcome.error);
  }

  async start(): Promise<void> {
    this.#isStarted = true;
  }

  async stop(): Promise<void> {
    this.#isStarted = false;
  }

  /** As it came. Rejects with BAD_ARGUMENT before it has. */
  async saveDeviceState(): Promise<Uint8Array> {
    if (this.#deviceState !== undefined) return this.#deviceState.bytes;
    throw new MigrationError('BAD_ARGUMENT', 'a machine that is being received', { hint: 'wait until it is here' });
  }
}

export class MachineSaver implements MachineReceiver {
  readonly like?: MachineLike;
  readonly #options: MachineSaverOptions;
  #directory: SaveDirectory | undefined;
  #received: ReceivedMachine | undefined;
  #closed = false;

  private constructor(options: MachineSaverOptions, like?: MachineLike, directory?: SaveDirectory) {
    this.#options = options;
    this.#directory = directory;
    if (like !== undefined) this.like = like;
  }

  /**
   * Rejects with SAVE_FAILED where the directory can't be made or written to, or is not empty, and with
   * MACHINE_INVALID where the machine to be like can't be read.
   */
  static async create(options: MachineSaverOptions = {}): Promise<MachineSaver> {
    const { directory, like } = options;
    const expected = like === undefined ? undefined : await readMachineLike(like);
    return new MachineSaver(
      options,
      expected,
      directory === undefined ? undefined : await SaveDirectory.create(directory),
    );
  }

  /**
   * For one migration. Rejects, while the source has the guest, with GUEST_UNAVAILABLE where the host has too
   * little memory for it and with SAVE_FAILED where the file system has too little room.
   */
  async receive(machine: Machine, entries: readonly RamBlockEntry[]): Promise<Guest> {
    if (this.#received !== undefined || this.#closed) {
      throw new MigrationError('BAD_ARGUMENT', 'a second machine', { hint: 'make a MachineSaver for each migration' });
    }
    await this.#directory?.requireRoom(entries.reduce((sum, { usedLength }) => sum + usedLength, 0));
    const blocks = createMachineBlocks(entries, this.#options.kind);
    this.#received = new ReceivedMachine(machine, blocks, this.#directory);
    return this.#received;
  }

  /** Bytes of RAM read so far, and of how many; 0 of 0 before the machine comes. */
  get progress(): { readonly done: number; readonly total: number } {
    const received = this.#received;
    if (received === undefined) return { done: 0, total: 0 };
    return { done: received.reader.bytesRead, total: received.ramBlocks.reduce((sum, { size }) => sum + size, 0) };
  }

  /**
   * Once the migration has completed: resolved when all RAM is read and, with a directory, the machine is on disk.
   * `peer` goes into the manifest. Rejects with SAVE_FAILED, or CANCELLED after `close`.
   */
  async finish(peer: Manifest['peer']): Promise<ReceivedMachineInfo> {
    const received = this.#received;
    const state = received?.deviceState;
    if (received === undefined || state === undefined) {
      throw new MigrationError('BAD_ARGUMENT', 'no machine has come', { hint: 'wait for the migration to complete' });
    }
    const digests = await received.digests();
    const { machine, ramBlocks } = received;
    const { bytes: deviceState, vmDescription } = state;
    const parts = { machine, ramBlocks, digests, deviceState, peer, vmDescription: vmDescription !== undefined };
    await this.#directory?.publish(manifestText(describeMachine({ ...parts, partial: false })));
    return {
      machine: received.machine.configuration.machine,
      runState: state.runState,
      blocks: received.ramBlocks.map(({ idstr, size: length }, i) => ({ idstr, length, sha256: digests[i] })),
      dataBytes: received.reader.dataBytes,
      deviceStateBytes: state.bytes.length,
      devices: state.devices.length,
      directory: this.#directory?.path,
    };
  }

  /**
   * Of a migration that failed when the machine had been handed over (`info().lost`): keeps what there is of it in the
   * directory, in place of the whole, for `reconcileHalves`. `received` are the pages of each block that came; `peer`
   * goes into the manifest. Resolved with the directory. Rejects with SAVE_FAILED, or BAD_ARGUMENT where there is
   * nothing to keep.
   */
  async keepHalf(received: readonly PageBitmap[], peer: Manifest['peer']): Promise<string> {
    const half = this.#received;
    const deviceState = half?.deviceState?.bytes;
    if (this.#directory === undefined || half === undefined || deviceState === undefined) {
      throw new MigrationError('BAD_ARGUMENT', 'no machine has come, or it is not to be kept', {
        hint: 'make the MachineSaver with a directory',
      });
    }
    // What the reader still writes goes to files that have no name any more.
    half.reader.stop();
    await this.#directory.remove();
    this.#directory = await SaveDirectory.create(this.#directory.path);
    const { machine, ramBlocks } = half;
    await saveReceivedHalf(this.#directory, { machine, ramBlocks, pages: received, deviceState, peer });
    return this.#directory.path;
  }

  /**
   * Ends the reading, lets go of RAM and removes what was written, unless `finish` has resolved; harmless twice. After
   * a failed migration call `IncomingMigration.abandon` before, or this waits for pages that never come. Rejects
   * with SAVE_FAILED where something can't be removed.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const received = this.#received;
    if (received !== undefined) {
      received.reader.stop();
      await received.reader.ended;
      for (const block of received.ramBlocks) block.close();
    }
    await this.#directory?.remove();
  }
}
