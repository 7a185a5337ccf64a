/**
 * Half of a machine whose migration was given up when it had been handed over: what one side has of its RAM, as a
 * directory that `reconcileHalves` makes a whole machine of with the other side's. docs/recovery.md has the format.
 */
import type { PageBitmap } from '../memory/bitmap.js';
import type { Machine } from '../memory/guest.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlock } from '../memory/ram-block.js';
import { native } from '../native.js';
import { BlockWriter, CHUNK_BYTES } from './block-writer.js';
import { describeMachine, filesOf } from './describe-machine.js';
import { DEVICE_STATE_FILE, type Manifest, manifestText } from './manifest.js';
import { encodeMarks, type MarkFolder, marksFile } from './page-marks.js';
import { type SaveDirectory, saveFailed } from './save-directory.js';

export interface HalfMachine {
  readonly machine: Machine;
  readonly ramBlocks: readonly RAMBlock[];
  /** The pages of each block that are in this half; no other is touched. */
  readonly pages: readonly PageBitmap[];
  readonly deviceState: Uint8Array;
  readonly peer: Manifest['peer'];
}

/** Fills `chunk` with the block's bytes from `position`, and zeroes where its pages are not marked. */
function copyMarked({ handle }: RAMBlock, pages: PageBitmap, position: number, chunk: Buffer): void {
  chunk.fill(0);
  const end = (position + chunk.length) / TARGET_PAGE_SIZE;
  for (let first = pages.findNext(position / TARGET_PAGE_SIZE); first < end; ) {
    const behind = Math.min(end, pages.findNextClear(first));
    const at = first * TARGET_PAGE_SIZE;
    native().ramBlockRead(handle, at, chunk.subarray(at - position, behind * TARGET_PAGE_SIZE - position));
    first = pages.findNext(behind);
  }
}

async function writeBlock(path: string, block: RAMBlock, pages: PageBitmap): Promise<string> {
  await using writer = await BlockWriter.open(path);
  const chunk = Buffer.alloc(CHUNK_BYTES);
  for (let at = 0; at < block.size; at += CHUNK_BYTES) {
    const part = chunk.subarray(0, Math.min(CHUNK_BYTES, block.size - at));
    copyMarked(block, pages, at, part);
    await writer.write(part);
  }
  return await writer.finish();
}

async function saveHalf(directory: SaveDirectory, folder: MarkFolder, half: HalfMachine): Promise<void> {
  const { pages, ...parts } = half;
  const files = filesOf(half.ramBlocks);
  const digests: string[] = [];
  try {
    await directory.makeFolder(folder);
    for (const [index, block] of half.ramBlocks.entries()) {
      await directory.write(marksFile(folder, files[index]), encodeMarks(pages[index]));
      digests.push(await writeBlock(directory.pathFor(files[index]), block, pages[index]));
    }
  } catch (cause) {
    throw saveFailed(directory.path, cause);
  }
  await directory.write(DEVICE_STATE_FILE, half.deviceState);
  await directory.publish(manifestText(describeMachine({ ...parts, digests, vmDescription: false, partial: true })));
}

/** The destination's half: the pages that were received. Rejects with SAVE_FAILED. */
export const saveReceivedHalf = (directory: SaveDirectory, half: HalfMachine): Promise<void> =>
  saveHalf(directory, 'received', half);

/** The source's half: the pages that the destination may not have. Rejects with SAVE_FAILED. */
export const saveRemainderHalf = (directory: SaveDirectory, half: HalfMachine): Promise<void> =>
  saveHalf(directory, 'remainder', half);
