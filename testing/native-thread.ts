/**
 * Threads for tests of the addon: a worker that runs one function over `native()`, and a look from outside
 * at what a named thread is blocked in, so that a test can wait for a fact instead of a time.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type Native, native } from '#lib/native.js';

const nativeUrl = import.meta.resolve('#lib/native.js');

const source = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.nativeUrl).then(({ native }) => {
    native().setThreadName(workerData.name);
    const body = eval('(' + workerData.body + ')');
    parentPort.postMessage(body(native(), workerData.data));
  });
`;

export interface NativeThread<Result> {
  /** What the body returned; rejects with what it threw, or when the thread ended before. */
  readonly result: Promise<Result>;
  readonly terminate: () => Promise<number>;
}

/** Runs `body` in a worker. It is carried over as text, so it must use nothing but its arguments. */
export function onThread<Data, Result>(
  name: string,
  data: Data,
  body: (native: Native, data: Data) => Result,
): NativeThread<Result> {
  const worker = new Worker(source, { eval: true, workerData: { nativeUrl, name, data, body: body.toString() } });
  const result = new Promise<Result>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`thread ${name} ended with ${code}`)));
  });
  result.catch(() => {}); // a test that ends the thread on purpose does not look
  return { result, terminate: () => worker.terminate() };
}

/** System call numbers that tests wait for, of this architecture; and -1, which the kernel shows for a fault. */
export const blockedIn = (
  {
    x64: { fault: -1, poll: [7, 271], madvise: 28, munmap: 11, futex: 202 },
    arm64: { fault: -1, poll: [73], madvise: 233, munmap: 215, futex: 98 },
  } as Record<string, { fault: number; poll: number[]; madvise: number; munmap: number; futex: number }>
)[process.arch];

/** The same as {@link systemCallOf} of the thread of this id. Throws where it has ended. */
function systemCallOfTask(task: string | number): number | undefined {
  const [call] = readFileSync(`/proc/self/task/${task}/syscall`, 'utf8').split(' ');
  return call.startsWith('running') ? undefined : Number(call);
}

/**
 * The system call that the thread of this name is blocked in, by number; -1 in a page fault (or another
 * exception); undefined while it runs, or when there is none.
 */
export function systemCallOf(name: string): number | undefined {
  for (const task of readdirSync('/proc/self/task')) {
    try {
      if (readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim() !== name) continue;
      return systemCallOfTask(task);
    } catch {
      // The thread ended meanwhile.
    }
  }
  return undefined;
}

export const isInFault = (name: string): boolean => systemCallOf(name) === blockedIn.fault;
/** The same by the kernel's id, where several have one name. */
export const isTaskInFault = (task: number): boolean => systemCallOfTask(task) === blockedIn.fault;
export const isPolling = (name: string): boolean => blockedIn.poll.includes(systemCallOf(name) ?? Number.NaN);

/** How many threads of this process have a name that begins so. */
export function countThreads(prefix: string): number {
  return readdirSync('/proc/self/task').filter((task) => {
    try {
      return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').startsWith(prefix);
    } catch {
      return false;
    }
  }).length;
}

/** Milliseconds between two looks at a fact that nobody announces. */
const LOOK_MS = 1;

/** Resolves once the condition holds; rejects, naming it, when it does not within 20 seconds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadlineUs = native().monotonicUs() + 20_000_000;
  while (!condition()) {
    if (native().monotonicUs() > deadlineUs) throw new Error(`waited 20 seconds until ${what}`);
    // Not in the very next turn: what is waited for needs the processor.
    await delay(LOOK_MS);
  }
}
