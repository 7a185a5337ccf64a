/** Threads that read one byte of every page, as the vCPUs of a guest may that has only just come, and time each. */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import type { RAMBlockDescriptor } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';

export interface TouchOptions {
  /** Each has a part of its own of the memory. */
  readonly threads: number;
  readonly order: 'sequential' | 'random';
}

export interface Touched {
  /** From the first touch until the last had returned. */
  readonly allMs: number;
  /** Microseconds of each touch. */
  readonly eachUs: readonly Float64Array[];
}

/** A thread's part of the work: pages of the block from `first` to before `end`. */
interface Part {
  readonly block: RAMBlockDescriptor;
  readonly first: number;
  readonly end: number;
  readonly order: TouchOptions['order'];
}

/** What a thread says: first that it is there, then its times, of CLOCK_MONOTONIC in microseconds. */
type Said = 'ready' | { readonly startUs: number; readonly endUs: number; readonly eachUs: Float64Array };

export class Touchers {
  readonly #workers: readonly Worker[];
  readonly #order: TouchOptions['order'];

  private constructor(workers: readonly Worker[], order: TouchOptions['order']) {
    this.#workers = workers;
    this.#order = order;
  }

  /** Resolves once all threads wait for work: what is touched should not be there before they are. */
  static async start({ threads, order }: TouchOptions): Promise<Touchers> {
    const workers = Array.from({ length: threads }, () => new Worker(new URL(import.meta.url)));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    return new Touchers(workers, order);
  }

  /** Resolves when every page has been touched; the threads have ended then. Once only. */
  async touchAll(block: RAMBlockDescriptor): Promise<Touched> {
    const pages = block.size / block.pageSize;
    const begin = (index: number): number => Math.floor((pages * index) / this.#workers.length);
    const running = this.#workers.map(async (worker, index) => {
      const part: Part = { block, first: begin(index), end: begin(index + 1), order: this.#order };
      worker.postMessage(part);
      const [times] = (await once(worker, 'message')) as [Exclude<Said, 'ready'>];
      return times;
    });
    const times = await Promise.all(running);
    const startUs = Math.min(...times.map((each) => each.startUs));
    const endUs = Math.max(...times.map((each) => each.endUs));
    return { allMs: (endUs - startUs) / 1000, eachUs: times.map(({ eachUs }) => eachUs) };
  }
}

function shuffle(pages: Uint32Array): void {
  for (let last = pages.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    [pages[last], pages[other]] = [pages[other], pages[last]];
  }
}

function touch({ block, first, end, order }: Part): Said {
  const { monotonicUs, ramBlockRead, setThreadName } = native();
  setThreadName('bench/toucher');
  const pages = Uint32Array.from({ length: end - first }, (_, index) => first + index);
  if (order === 'random') shuffle(pages);
  const eachUs = new Float64Array(pages.length);
  const byte = new Uint8Array(1);
  const startUs = monotonicUs();
  let beforeUs = startUs;
  for (const [index, page] of pages.entries()) {
    ramBlockRead(block.handle, page * block.pageSize, byte);
    const afterUs = monotonicUs();
    eachUs[index] = afterUs - beforeUs;
    beforeUs = afterUs;
  }
  return { startUs, endUs: beforeUs, eachUs };
}

if (!isMainThread) {
  parentPort?.once('message', (part: Part) => parentPort?.postMessage(touch(part)));
  parentPort?.postMessage('ready' satisfies Said);
}
