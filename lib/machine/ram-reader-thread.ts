/**
 * The thread that reads all RAM while it arrives: block by block, from its first page to its last, into a
 * buffer, of which it takes the digest and, where it has a file, writes what is not zero. Only the copy
 * touches guest memory, and that in user mode: a write(2) from memory that is missing would fail with EFAULT.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, ftruncateSync, openSync, readlinkSync, writeSync } from 'node:fs';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native } from '../native.js';
import { Kicked } from '../threads/kicked.js';
import { runThread } from '../threads/thread.js';
import { forDataRuns } from './block-files.js';
import {
  createReaderCounters,
  createReaderSignals,
  type RamDigests,
  type RamReaderData,
  type RamReaderEvent,
  Task,
} from './ram-reader.js';
import { FILE_MODE } from './save-directory.js';

/** Small enough to stay in the cache between the copy, the digest and the write. */
const CHUNK_BYTES = 256 * 1024;

const threadId = (): number => Number(readlinkSync('/proc/thread-self').split('/').at(-1));

function writeAll(fd: number, bytes: Buffer, start: number, end: number, position: number): void {
  for (let at = start; at < end; ) at += writeSync(fd, bytes, at, end - at, position + at);
}

class Reader {
  readonly #signals: ReturnType<typeof createReaderSignals>;
  readonly #counters: ReturnType<typeof createReaderCounters>;
  readonly #chunk = Buffer.alloc(CHUNK_BYTES);

  constructor({ signals, counters }: RamReaderData) {
    this.#signals = createReaderSignals(signals);
    this.#counters = createReaderCounters(counters);
  }

  awaitTask(): void {
    this.#signals.waitWhile('TASK', Task.WAIT);
    this.#checkTask();
  }

  /** The digest of the block. With a file, the block is on disk then. */
  readBlock(block: RAMBlockDescriptor, file: string | undefined): string {
    if (file === undefined) return this.#copyOut(block, undefined);
    const fd = openSync(file, 'wx', FILE_MODE);
    try {
      const digest = this.#copyOut(block, fd);
      // Behind the last data there are zeroes, which were not written.
      ftruncateSync(fd, block.size);
      fsyncSync(fd);
      return digest;
    } finally {
      closeSync(fd);
    }
  }

  #copyOut({ handle, size }: RAMBlockDescriptor, fd: number | undefined): string {
    const { ramBlockRead } = native();
    const hash = createHash('sha256');
    for (let at = 0; at < size; at += CHUNK_BYTES) {
      const chunk = size - at < CHUNK_BYTES ? this.#chunk.subarray(0, size - at) : this.#chunk;
      ramBlockRead(handle, at, chunk);
      // Let go of, missing memory reads as zeroes: not to be taken for what the machine had.
      this.#checkTask();
      hash.update(chunk);
      forDataRuns(chunk, chunk.length, (start, end) => {
        this.#counters.add('data', end - start);
        if (fd !== undefined) writeAll(fd, chunk, start, end, at);
      });
      this.#counters.add('read', chunk.length);
    }
    return hash.digest('hex');
  }

  #checkTask(): void {
    if (this.#signals.get('TASK') === Task.STOP) throw new Kicked();
  }
}

runThread<RamReaderData, RamDigests, RamReaderEvent>((data, thread) => {
  const reader = new Reader(data);
  thread.emit({ threadId: threadId() });
  reader.awaitTask();
  return data.blocks.map((block, index) => reader.readBlock(block, data.files?.[index]));
});
