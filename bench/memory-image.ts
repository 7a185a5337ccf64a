/** The content of the guest's RAM: a file that every source maps, so that all send the same. */
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Content, MIB, zeroShares } from './benchmark.ts';

const PAGE = 4096;
/** Pages of a run of content and one of zeroes behind it: as memory is, and no multiple of any batch. */
const TURN_PAGES = 400;
/** Memory, not a disk, where there is such a folder. */
const MEMORY_FOLDER = '/dev/shm';

export class MemoryImage implements Disposable {
  /** For files beside it, removed with it. */
  readonly folder: string;
  readonly path: string;
  readonly bytes: number;

  private constructor(folder: string, path: string, bytes: number) {
    this.folder = folder;
    this.path = path;
    this.bytes = bytes;
  }

  /** A new one of `bytes`, whole pages. Zeroes are written as well: no page of the file is missing. */
  static async create(bytes: number, kind: Content): Promise<MemoryImage> {
    const folder = mkdtempSync(join(await memoryFolder(bytes), 'postcopy-bench-'));
    const path = join(folder, 'ram');
    try {
      await using file = await open(path, 'w');
      const zeroes = Buffer.alloc(TURN_PAGES * zeroShares[kind] * PAGE);
      const content = Buffer.alloc(TURN_PAGES * PAGE - zeroes.length);
      for (let at = 0; at < bytes; ) {
        for (const run of [randomFillSync(content), zeroes]) {
          const part = run.subarray(0, Math.min(run.length, bytes - at));
          await file.write(part, 0, part.length, at);
          at += part.length;
        }
      }
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
    return new MemoryImage(folder, path, bytes);
  }

  /** Gives its memory back: from now on it is what another file has, which has to be the same. */
  replaceBy(path: string): void {
    rmSync(this.path);
    symlinkSync(path, this.path);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function memoryFolder(bytes: number): Promise<string> {
  try {
    const { bavail, bsize } = await statfs(MEMORY_FOLDER);
    // As much again for what a QEMU saves of its memory to be looked at.
    if (bavail * bsize > 2 * bytes + MIB) return MEMORY_FOLDER;
  } catch {
    // There is none.
  }
  return tmpdir();
}

/**
 * Where the image and what `read` gives begin to differ, as far as they are looked at: from `start` to `end`, the
 * image's offsets. -1 where they are the same.
 */
export async function findDifference(
  path: string,
  start: number,
  end: number,
  read: (target: Buffer, offset: number) => unknown,
): Promise<number> {
  await using file = await open(path);
  const wanted = Buffer.alloc(MIB);
  const found = Buffer.alloc(MIB);
  for (let at = start; at < end; at += MIB) {
    const length = Math.min(MIB, end - at);
    await file.read(wanted, 0, length, at);
    await read(found.subarray(0, length), at);
    for (let page = 0; page < length; page += PAGE) {
      if (wanted.compare(found, page, page + PAGE, page, page + PAGE) !== 0) return at + page;
    }
  }
  return -1;
}
