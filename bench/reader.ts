/** A thread that reads one byte of every page in order, as a guest may that has only just come. */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { RAMBlock, RAMBlockDescriptor } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';

/** Milliseconds from the first touch until it returned, and until the last did. */
export interface ReadTimes {
  readonly firstReadMs: number;
  readonly allReadMs: number;
}

interface ReaderData {
  readonly blocks: readonly RAMBlockDescriptor[];
}

/** Resolves when every page has been read. */
export async function readAllPages(blocks: readonly RAMBlock[]): Promise<ReadTimes> {
  const workerData: ReaderData = { blocks: blocks.map(({ descriptor }) => descriptor) };
  const worker = new Worker(new URL(import.meta.url), { workerData });
  const [times] = (await once(worker, 'message')) as [ReadTimes];
  return times;
}

function read({ blocks }: ReaderData): ReadTimes {
  const { monotonicUs, ramBlockRead, setThreadName } = native();
  setThreadName('bench/reader');
  const byte = new Uint8Array(1);
  const startUs = monotonicUs();
  let firstUs = 0;
  for (const { handle, size, pageSize } of blocks) {
    for (let offset = 0; offset < size; offset += pageSize) {
      ramBlockRead(handle, offset, byte);
      if (firstUs === 0) firstUs = monotonicUs();
    }
  }
  return { firstReadMs: (firstUs - startUs) / 1000, allReadMs: (monotonicUs() - startUs) / 1000 };
}

if (!isMainThread) parentPort?.postMessage(read(workerData as ReaderData));
