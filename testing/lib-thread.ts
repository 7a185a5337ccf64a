/**
 * A worker that runs one function over compiled modules of lib/, for tests of what threads share. It can say
 * that it is about to block, and a test can then wait until it does: for a fact instead of a time.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type Transferable, Worker } from 'node:worker_threads';
import { native } from '#lib/native.js';
import { until } from './native-thread.ts';

const nativeUrl = import.meta.resolve('#lib/native.js');

const source = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { urls, name, body, data, about, nativeUrl } = workerData;
  const aboutTo = new Int32Array(about);
  const say = () => { Atomics.store(aboutTo, 0, 1); };
  (async () => {
    const lib = {};
    for (const [key, url] of Object.entries(urls)) lib[key] = await import(url);
    (await import(nativeUrl)).native().setThreadName(name);
    parentPort.postMessage(eval('(' + body + ')')(lib, data, say));
  })();
`;

export interface LibThread<Result> {
  readonly name: string;
  /** What the body returned; rejects with what it threw, or when the thread ended before. */
  readonly result: Promise<Result>;
  /** Resolved once the body has called its third argument and then waits on a shared word. */
  waits(): Promise<void>;
  /** Only for a thread that waits for ever on a shared word: native calls can't be terminated. */
  terminate(): Promise<number>;
}

/** System call number of futex, by architecture. */
const futex = ({ x64: 202, arm64: 98 } as Record<string, number>)[process.arch];

function isInFutex(name: string): boolean {
  return readdirSync('/proc/self/task').some((task) => {
    try {
      const isIt = readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim() === name;
      return isIt && Number(readFileSync(`/proc/self/task/${task}/syscall`, 'utf8').split(' ')[0]) === futex;
    } catch {
      return false; // it ended meanwhile
    }
  });
}

/**
 * Runs `body(modules, data, aboutToWait)` in a worker named `name` (at most 15 bytes). `modules` maps the names
 * the body uses to specifiers such as `#lib/threads/ring.js`. The body is carried over as text, so it must use
 * nothing but its arguments.
 */
export function onLibThread<Modules, Data, Result>(
  name: string,
  modules: Readonly<Record<keyof Modules & string, string>>,
  data: Data,
  body: (lib: Modules, data: Data, aboutToWait: () => void) => Result,
  transferList: readonly Transferable[] = [],
): LibThread<Result> {
  const urls = Object.fromEntries(
    Object.entries<string>(modules).map(([key, specifier]) => [key, import.meta.resolve(specifier)]),
  );
  const about = new SharedArrayBuffer(4);
  const worker = new Worker(source, {
    eval: true,
    workerData: { urls, name, data, about, nativeUrl, body: body.toString() },
    transferList: [...transferList],
  });
  const result = new Promise<Result>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`thread ${name} ended with ${code}`)));
  });
  result.catch(() => {}); // a test that ends the thread on purpose does not look
  const aboutTo = new Int32Array(about);
  return {
    name,
    result,
    waits: () => until(`${name} waits`, () => Atomics.load(aboutTo, 0) === 1 && isInFutex(name)),
    terminate: () => worker.terminate(),
  };
}

/** What `openHandles` counts, before and after: the difference by kind, empty when nothing was left. */
export function handleLeaks(): () => Record<string, number> {
  const before = native().openHandles();
  return () => {
    const after = native().openHandles();
    const kinds = Object.keys(before) as (keyof typeof before)[];
    return Object.fromEntries(
      kinds.map((kind) => [kind, after[kind] - before[kind]]).filter(([, count]) => count !== 0),
    );
  };
}
