/** Writes the file of one RAM block from its first byte to its last: sparse where it is zero, with its digest. */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { forDataRuns } from './block-files.js';
import { FILE_MODE } from './save-directory.js';

/** Bytes that are read and written at a time; whole target pages. */
export const CHUNK_BYTES = 1024 * 1024;

export class BlockWriter {
  readonly #handle: FileHandle;
  readonly #hash = createHash('sha256');
  #length = 0;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Makes the file, or empties the one that is there. */
  static async open(path: string): Promise<BlockWriter> {
    return new BlockWriter(await open(path, 'w', FILE_MODE));
  }

  /** The next bytes: whole target pages, at most CHUNK_BYTES. */
  async write(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    const runs: [start: number, end: number][] = [];
    forDataRuns(bytes, bytes.length, (start, end) => runs.push([start, end]));
    for (const [start, end] of runs) {
      for (let at = start; at < end; ) {
        at += (await this.#handle.write(bytes, at, end - at, this.#length + at)).bytesWritten;
      }
    }
    this.#length += bytes.length;
  }

  /** It is on disk: the SHA-256 of it. */
  async finish(): Promise<string> {
    // Behind the last data there are zeroes, which were not written.
    await this.#handle.truncate(this.#length);
    await this.#handle.sync();
    return this.#hash.digest('hex');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}
