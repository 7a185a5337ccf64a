/**
 * A machine that `MachineSaver` saved, as a guest that can be sent: it stands still, and its RAM is what is in the
 * directory's files.
 */
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { MigrationError } from '../errors.js';
import type { Guest, Machine } from '../memory/guest.js';
import type { MemoryKind, RAMBlock } from '../memory/ram-block.js';
import { native } from '../native.js';
import { forDataRuns } from './block-files.js';
import { deviceSections } from './device-sections.js';
import { createMachineBlocks } from './machine-blocks.js';
import { openFile, readExactly, readManifest, readWhole } from './machine-files.js';
import {
  type BlockFile,
  checkDigest,
  DEVICE_STATE_BYTES_MAX,
  DEVICE_STATE_FILE,
  invalid,
  type Manifest,
  VM_DESCRIPTION_BYTES_MAX,
  VM_DESCRIPTION_FILE,
} from './manifest.js';

export interface OpenMachineOptions {
  /** Of the blocks whose pages are the host's; `anonymous` when absent. */
  readonly kind?: Exclude<MemoryKind, 'hugetlb'>;
  /** Whether each file must have the manifest's SHA-256; true when absent. */
  readonly verify?: boolean;
  /** Called now and then while RAM is read: bytes so far, and of how many. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Aborted: the reading ends with CANCELLED. */
  readonly signal?: AbortSignal;
}

const CHUNK_BYTES = 1024 * 1024;

/** The device state, which must be the sections that the manifest lists. */
async function readDeviceState(directory: string, { deviceState }: Manifest, verify: boolean): Promise<Uint8Array> {
  const path = join(directory, DEVICE_STATE_FILE);
  const state = await readWhole(path, DEVICE_STATE_BYTES_MAX);
  if (state.length !== deviceState.length) {
    throw invalid(path, `has ${state.length} bytes, and the manifest says ${deviceState.length}`);
  }
  if (verify) checkDigest(path, createHash('sha256').update(state).digest('hex'), deviceState.sha256);
  let devices: unknown;
  try {
    devices = deviceSections(state).devices;
  } catch (error) {
    throw invalid(path, (error as Error).message);
  }
  if (JSON.stringify(devices) !== JSON.stringify(deviceState.devices)) {
    throw invalid(path, 'does not hold the devices that the manifest lists');
  }
  return state;
}

/** All blocks' files into their blocks, a chunk at a time; zero pages are left out, so that they take no memory. */
class RamLoader {
  readonly #directory: string;
  readonly #options: OpenMachineOptions;
  readonly #total: number;
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);
  #done = 0;

  constructor(directory: string, total: number, options: OpenMachineOptions) {
    this.#directory = directory;
    this.#options = options;
    this.#total = total;
  }

  async load(block: RAMBlock, file: BlockFile): Promise<void> {
    const path = join(this.#directory, file.file);
    const { handle, size } = await openFile(path, Number.MAX_SAFE_INTEGER);
    try {
      if (size !== file.length) {
        throw invalid(path, `has ${size} bytes, and the manifest says ${file.length}`, 'use a copy that is whole');
      }
      await this.#loadFrom(handle, path, block, file);
    } finally {
      await handle.close();
    }
  }

  async #loadFrom(handle: FileHandle, path: string, block: RAMBlock, { length, sha256 }: BlockFile): Promise<void> {
    const { ramBlockWrite } = native();
    const { verify = true, onProgress, signal } = this.#options;
    const hash = createHash('sha256');
    const chunk = this.#chunk;
    for (let at = 0; at < length; at += CHUNK_BYTES) {
      if (signal?.aborted) throw new MigrationError('CANCELLED', 'the reading of the saved machine was ended');
      const bytes = Math.min(CHUNK_BYTES, length - at);
      await readExactly(handle, path, chunk.subarray(0, bytes), at);
      if (verify) hash.update(chunk.subarray(0, bytes));
      forDataRuns(chunk, bytes, (start, end) => ramBlockWrite(block.handle, at + start, chunk.subarray(start, end)));
      this.#done += bytes;
      onProgress?.(this.#done, this.#total);
    }
    if (verify) checkDigest(path, hash.digest('hex'), sha256);
  }
}

export class SavedMachine implements Guest {
  readonly machine: Machine;
  readonly ramBlocks: readonly RAMBlock[];
  /** Its vCPUs are not here; whether they run at the destination is in its device state. */
  readonly running = false;
  readonly manifest: Manifest;
  readonly #deviceState: Uint8Array;
  #closed = false;

  private constructor(manifest: Manifest, blocks: readonly RAMBlock[], state: Uint8Array, vmDescription?: string) {
    const { configuration, ramSection } = manifest;
    this.machine = { configuration, ramSection, ...(vmDescription === undefined ? {} : { vmDescription }) };
    this.ramBlocks = blocks;
    this.manifest = manifest;
    this.#deviceState = state;
  }

  /**
   * Reads the machine in `directory`. Rejects with MACHINE_INVALID naming the file and what is wrong with it,
   * GUEST_UNAVAILABLE where the host has not as much memory, or CANCELLED.
   */
  static async open(directory: string, options: OpenMachineOptions = {}): Promise<SavedMachine> {
    const { kind = 'anonymous', verify = true } = options;
    const manifest = await readManifest(directory);
    if (manifest.partial) {
      throw invalid(directory, 'is half of a machine', 'make it whole with the other half: "postcopy reconcile"');
    }
    const state = await readDeviceState(directory, manifest, verify);
    const description = manifest.vmDescription
      ? (await readWhole(join(directory, VM_DESCRIPTION_FILE), VM_DESCRIPTION_BYTES_MAX)).toString('utf8')
      : undefined;
    const entries = manifest.blocks.map(({ length, ...block }) => ({ ...block, usedLength: length }));
    const blocks = createMachineBlocks(entries, kind);
    try {
      const total = entries.reduce((sum, { usedLength }) => sum + usedLength, 0);
      const loader = new RamLoader(directory, total, options);
      for (const [index, block] of blocks.entries()) await loader.load(block, manifest.blocks[index]);
    } catch (error) {
      for (const block of blocks) block.close();
      throw error;
    }
    return new SavedMachine(manifest, blocks, state, description);
  }

  async start(): Promise<void> {
    throw new MigrationError('BAD_ARGUMENT', 'a saved machine has no vCPUs here', { hint: 'send it to a QEMU' });
  }

  async stop(): Promise<void> {}

  async saveDeviceState(): Promise<Uint8Array> {
    return this.#deviceState;
  }

  async loadDeviceState(): Promise<void> {
    throw new MigrationError('BAD_ARGUMENT', 'a saved machine is sent, not received', { hint: 'use MachineSaver' });
  }

  /** Lets go of its RAM; harmless twice. The files stay. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const block of this.ramBlocks) block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
