/**
 * Makes a whole machine of the two halves that are left of it when its migration was given up once it had been handed
 * over: each page as the destination received it, or else as the source still has it. Files only.
 */
import { createHash } from 'node:crypto';
import { lstat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount, TARGET_PAGE_SIZE } from '../memory/page.js';
import { BlockWriter, CHUNK_BYTES } from './block-writer.js';
import { openFile, readExactly, readManifest, readWhole } from './machine-files.js';
import {
  type BlockFile,
  checkDigest,
  DEVICE_STATE_BYTES_MAX,
  DEVICE_STATE_FILE,
  invalid,
  type Manifest,
  manifestText,
} from './manifest.js';
import { decodeMarks, type MarkFolder, marksFile, marksLength } from './page-marks.js';
import { SaveDirectory, saveFailed } from './save-directory.js';

export interface ReconcileOptions {
  /** Called now and then: bytes of RAM so far, and of how many. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Aborted: it ends with CANCELLED, and nothing is left of it. */
  readonly signal?: AbortSignal;
}

export interface ReconciledBlock {
  readonly idstr: string;
  /** Bytes. */
  readonly length: number;
  readonly sha256: string;
  /** Target pages that were taken from each half. */
  readonly fromDestination: number;
  readonly fromSource: number;
}

export interface Reconciled {
  readonly machine: string;
  readonly runState: string | undefined;
  readonly blocks: readonly ReconciledBlock[];
  readonly deviceStateBytes: number;
  /** The directory of the whole machine. */
  readonly directory: string;
}

/** How many ranges of missing pages a message names. */
const RANGES_NAMED = 8;

interface Half {
  readonly directory: string;
  readonly manifest: Manifest;
  /** By block: the pages that are in this half. */
  readonly pages: readonly PageBitmap[];
}

/** One block's file of a half, read from its first byte to its last. */
interface BlockReader {
  read(chunk: Buffer, position: number): Promise<void>;
  /** All has been read. Throws MACHINE_INVALID where it is not what the manifest says. */
  verify(): void;
  close(): Promise<void>;
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

/** Throws MACHINE_INVALID where it is not that side's half. */
async function checkSide(directory: string, { partial }: Manifest, folder: MarkFolder): Promise<void> {
  if (partial !== true) throw invalid(directory, 'is a whole machine', 'send it as it is: "postcopy send --from"');
  if (await isThere(join(directory, folder))) return;
  const [is, wanted] =
    folder === 'received' ? ["the source's half", "the destination's"] : ["the destination's half", "the source's"];
  throw invalid(directory, `is ${is}, and ${wanted} is wanted`, "give the destination's half first, then the source's");
}

async function readHalf(directory: string, folder: MarkFolder): Promise<Half> {
  const manifest = await readManifest(directory);
  await checkSide(directory, manifest, folder);
  const pages: PageBitmap[] = [];
  for (const { file, length } of manifest.blocks) {
    const path = join(directory, marksFile(folder, file));
    pages.push(decodeMarks(await readWhole(path, marksLength(pageCount(length))), pageCount(length), path));
  }
  return { directory, manifest, pages };
}

const blockShapes = ({ blocks }: Manifest) =>
  blocks.map(({ idstr, length, pageSize = TARGET_PAGE_SIZE }) => ({ idstr, length, pageSize }));

/** What two halves of one migration have in common, each by its name in messages. */
const commonParts: readonly (readonly [what: string, pick: (manifest: Manifest) => unknown])[] = [
  ['machine type', ({ configuration }) => configuration.machine],
  ['UUID', ({ configuration }) => configuration.uuid],
  ['RAM blocks', blockShapes],
  ['device state', ({ deviceState }) => deviceState.sha256],
];

/** Throws HALVES_MISMATCH where they are not halves of one machine in one migration. */
function checkSameMachine(destination: Half, source: Half): void {
  for (const [what, pick] of commonParts) {
    const [here, there] = [pick(destination.manifest), pick(source.manifest)];
    if (isDeepStrictEqual(here, there)) continue;
    throw new MigrationError(
      'HALVES_MISMATCH',
      `${destination.directory} and ${source.directory} are not of one migration: the ${what} ` +
        `of the first is ${JSON.stringify(here) ?? 'none'}, of the second ${JSON.stringify(there) ?? 'none'}`,
    );
  }
}

/** Throws PAGES_MISSING, naming them, where a page is in neither half. */
function checkAllThere(destination: Half, source: Half): void {
  const gaps = destination.manifest.blocks.flatMap(({ idstr }, index) => {
    const missing = new PageBitmap(destination.pages[index].pageCount);
    missing.setAll();
    for (const { pages } of [destination, source]) {
      for (const [word, here] of pages[index].words.entries()) missing.words[word] &= ~here;
    }
    const count = missing.count();
    return count === 0 ? [] : [`${count} of ${idstr} (${missing.describeRanges(RANGES_NAMED)})`];
  });
  if (gaps.length === 0) return;
  throw new MigrationError('PAGES_MISSING', `pages that are in neither half: ${gaps.join('; ')}`, {
    hint: 'the machine can not be made whole; check that both halves were saved when the migration had ended',
  });
}

async function openBlock({ directory }: Half, { file, length, sha256 }: BlockFile): Promise<BlockReader> {
  const path = join(directory, file);
  const { handle, size } = await openFile(path, Number.MAX_SAFE_INTEGER);
  const hash = createHash('sha256');
  if (size !== length) {
    await handle.close();
    throw invalid(path, `has ${size} bytes, and the manifest says ${length}`, 'use a copy that is whole');
  }
  return {
    read: async (chunk, position) => {
      await readExactly(handle, path, chunk, position);
      hash.update(chunk);
    },
    verify: () => checkDigest(path, hash.digest('hex'), sha256),
    close: () => handle.close(),
  };
}

/** Copies over `target` the pages of `source` that `received` does not have; both begin at `position`. */
function fillGaps(target: Buffer, source: Buffer, received: PageBitmap, position: number): void {
  const end = (position + target.length) / TARGET_PAGE_SIZE;
  for (let first = received.findNextClear(position / TARGET_PAGE_SIZE); first < end; ) {
    const behind = Math.min(end, received.findNext(first));
    const at = first * TARGET_PAGE_SIZE - position;
    source.copy(target, at, at, behind * TARGET_PAGE_SIZE - position);
    first = received.findNextClear(behind);
  }
}

class Reconciliation {
  readonly #destination: Half;
  readonly #source: Half;
  readonly #options: ReconcileOptions;
  readonly #total: number;
  readonly #chunks = [Buffer.alloc(CHUNK_BYTES), Buffer.alloc(CHUNK_BYTES)] as const;
  #done = 0;

  constructor(destination: Half, source: Half, options: ReconcileOptions) {
    this.#destination = destination;
    this.#source = source;
    this.#options = options;
    this.#total = destination.manifest.blocks.reduce((sum, { length }) => sum + length, 0);
  }

  /** Writes all of the machine, and its manifest last. */
  async write(directory: SaveDirectory): Promise<readonly ReconciledBlock[]> {
    await directory.requireRoom(this.#total);
    const { manifest } = this.#destination;
    const blocks: ReconciledBlock[] = [];
    for (const index of manifest.blocks.keys()) blocks.push(await this.#writeBlock(directory, index));
    const path = join(this.#destination.directory, DEVICE_STATE_FILE);
    const state = await readWhole(path, DEVICE_STATE_BYTES_MAX);
    checkDigest(path, createHash('sha256').update(state).digest('hex'), manifest.deviceState.sha256);
    await directory.write(DEVICE_STATE_FILE, state);
    const { partial: _, ...whole } = manifest;
    await directory.publish(
      manifestText({
        ...whole,
        savedAt: new Date().toISOString(),
        blocks: manifest.blocks.map((block, index) => ({ ...block, sha256: blocks[index].sha256 })),
        vmDescription: false,
      }),
    );
    return blocks;
  }

  async #writeBlock(directory: SaveDirectory, index: number): Promise<ReconciledBlock> {
    const { idstr, file, length } = this.#destination.manifest.blocks[index];
    const received = this.#destination.pages[index];
    const ours = await openBlock(this.#destination, this.#destination.manifest.blocks[index]);
    try {
      const theirs = await openBlock(this.#source, this.#source.manifest.blocks[index]);
      try {
        const sha256 = await this.#merge(directory.pathFor(file), length, received, ours, theirs);
        const fromDestination = received.count();
        return { idstr, length, sha256, fromDestination, fromSource: received.pageCount - fromDestination };
      } finally {
        await theirs.close();
      }
    } finally {
      await ours.close();
    }
  }

  async #merge(
    path: string,
    length: number,
    received: PageBitmap,
    ours: BlockReader,
    theirs: BlockReader,
  ): Promise<string> {
    const { onProgress, signal } = this.#options;
    await using writer = await BlockWriter.open(path);
    for (let at = 0; at < length; at += CHUNK_BYTES) {
      if (signal?.aborted) throw new MigrationError('CANCELLED', 'ended before the machine was whole');
      const [chunk, other] = this.#chunks.map((each) => each.subarray(0, Math.min(CHUNK_BYTES, length - at)));
      await ours.read(chunk, at);
      await theirs.read(other, at);
      fillGaps(chunk, other, received, at);
      await writer.write(chunk);
      this.#done += chunk.length;
      onProgress?.(this.#done, this.#total);
    }
    for (const reader of [ours, theirs]) reader.verify();
    return await writer.finish();
  }
}

/**
 * Makes the directory `out`, which must not be there, of the destination's half and the source's: a machine as
 * `MachineSaver` saves it. It is there whole, or not at all. Rejects with MACHINE_INVALID where a half is not as it was
 * saved, HALVES_MISMATCH where they are of two migrations, PAGES_MISSING where a page is in neither, SAVE_FAILED, or
 * CANCELLED.
 */
export async function reconcileHalves(
  destination: string,
  source: string,
  out: string,
  options: ReconcileOptions = {},
): Promise<Reconciled> {
  const path = resolve(out);
  const refusal = () =>
    new MigrationError('SAVE_FAILED', `${path} is there already`, { hint: 'choose a directory that is new' });
  if (await isThere(path)) throw refusal();
  const ours = await readHalf(destination, 'received');
  const theirs = await readHalf(source, 'remainder');
  checkSameMachine(ours, theirs);
  checkAllThere(ours, theirs);
  const directory = await SaveDirectory.create(`${path}.unfinished-${process.pid}`);
  try {
    const blocks = await new Reconciliation(ours, theirs, options).write(directory);
    if (await isThere(path)) throw refusal();
    await directory.moveTo(path);
    const { configuration, runState, deviceState } = ours.manifest;
    return {
      machine: configuration.machine,
      runState,
      blocks,
      deviceStateBytes: deviceState.length,
      directory: path,
    };
  } catch (cause) {
    await directory.remove();
    throw saveFailed(path, cause);
  }
}
