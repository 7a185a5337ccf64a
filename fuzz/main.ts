/**
 * Fuzzes the decoders and what stands right behind them: `npm run fuzz -- [options]`. CONTRIBUTING.md says how.
 *
 * Each worker is a process with its own share, as native code may end it; this one only counts, and keeps the input
 * of a worker that is gone.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { type Figures, readNotebook } from './campaign.ts';
import { findingsFolder, readFinding, replay, writeFinding } from './findings.ts';
import { createTarget, type TargetName, targetNames } from './targets.ts';
import type { Memory, WorkerMessage, WorkerShare } from './worker.ts';

const usage = `npm run fuzz -- [options]
  --target ${targetNames.join('|')}   decode by default
  --executions N   of all workers together; 1,000,000 by default
  --seed N         the same seed makes the same executions; 1 by default
  --workers N      2 by default
  --asan           on the addon with sanitizers (needs cmake)
  --replay FILE    runs a finding once more`;

/** A worker reports every second; one that is silent for so long, and not stopped, hangs. */
const SILENCE_MS = 120_000;
const PROGRESS_MS = 10_000;

const whole = (value: number): string => Math.round(value).toLocaleString('en');
const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

interface Worker {
  readonly share: WorkerShare;
  readonly process: ChildProcess;
  figures: Figures | undefined;
  begin: Memory | undefined;
  end: Memory | undefined;
  /** Path of what it found. */
  finding: string | undefined;
  done: boolean;
  heard: number;
}

function startWorker(share: WorkerShare): Worker {
  const child = fork(new URL('./worker.ts', import.meta.url), [JSON.stringify(share)], {
    execArgv: [...process.execArgv, '--expose-gc'],
  });
  const worker: Worker = {
    share,
    process: child,
    figures: undefined,
    begin: undefined,
    end: undefined,
    finding: undefined,
    done: false,
    heard: Date.now(),
  };
  child.on('message', (message: WorkerMessage) => hear(worker, message));
  return worker;
}

function hear(worker: Worker, message: WorkerMessage): void {
  worker.heard = Date.now();
  if (message.kind === 'begun') worker.begin = message.memory;
  else {
    worker.figures = message.figures;
    worker.end = message.memory;
  }
  if (message.kind !== 'done') return;
  worker.done = true;
  worker.finding = message.finding;
}

/** By SIGSTOP: somebody wants the processors for a while. */
function isStopped({ pid }: ChildProcess): boolean {
  try {
    return /\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Resolves when the worker has ended; a worker that did not say so leaves its last input as a finding. */
function ended(worker: Worker): Promise<void> {
  return new Promise((resolve) => {
    worker.process.once('exit', (code, signal) => {
      const { target, notebook } = worker.share;
      if (!worker.done) {
        const what = `the process ended at this input or right behind it: ${signal ?? `exit status ${code}`}`;
        const entry = existsSync(notebook) ? readFileSync(notebook) : Buffer.alloc(0);
        worker.finding = entry.length === 0 ? what : writeFinding(readNotebook(entry, createTarget(target), what));
      }
      rmSync(notebook, { force: true });
      resolve();
    });
  });
}

const sum = (workers: readonly Worker[], of: (figures: Figures) => number): number =>
  workers.reduce((total, { figures }) => total + (figures === undefined ? 0 : of(figures)), 0);
const most = (workers: readonly Worker[], of: (worker: Worker) => number | undefined): number =>
  Math.max(...workers.map((worker) => of(worker) ?? 0));

function report(target: string, workers: readonly Worker[], seconds: number): string {
  const executions = sum(workers, (figures) => figures.executions);
  return [
    `${target}: ${whole(executions)} executions`,
    `${whole(executions / seconds)} a second`,
    `${whole(seconds)} s`,
    `${whole(sum(workers, (figures) => figures.bytes) / 2 ** 20)} MiB of input`,
    `${whole(most(workers, ({ figures }) => figures?.outcomes))} outcomes`,
    `slowest ${whole(most(workers, ({ figures }) => figures?.slowestMs))} ms`,
    `memory of a worker ${mib(most(workers, ({ begin }) => begin?.rss))} at the begin, ` +
      `${mib(most(workers, ({ end }) => end?.rss))} now ` +
      `(heap ${mib(most(workers, ({ begin }) => begin?.heap))}, ${mib(most(workers, ({ end }) => end?.heap))})`,
    `findings ${workers.filter(({ finding }) => finding !== undefined).length}`,
  ].join(', ');
}

async function fuzz(target: TargetName, executions: number, seed: number, count: number): Promise<number> {
  mkdirSync(findingsFolder, { recursive: true });
  const workers = Array.from({ length: count }, (_, i) =>
    startWorker({
      target,
      seed: seed * 1000 + i,
      executions: Math.floor(executions / count) + (i < executions % count ? 1 : 0),
      notebook: join(findingsFolder, `.${target}-${process.pid}-${i}`),
    }),
  );
  const begin = Date.now();
  const seconds = (): number => (Date.now() - begin) / 1000;
  const progress = setInterval(() => {
    console.log(report(target, workers, seconds()));
    for (const worker of workers) {
      if (isStopped(worker.process)) worker.heard = Date.now();
      if (!worker.done && Date.now() - worker.heard > SILENCE_MS) worker.process.kill('SIGKILL');
    }
  }, PROGRESS_MS);
  await Promise.all(workers.map(ended));
  clearInterval(progress);
  console.log(report(target, workers, seconds()));
  const findings = workers.flatMap(({ finding }) => finding ?? []);
  for (const finding of findings) console.log(describeFinding(finding));
  return findings.length === 0 ? 0 : 1;
}

function describeFinding(path: string): string {
  if (!existsSync(path)) return path;
  const shown = relative(process.cwd(), path);
  return `${readFinding(path).what}\nagain: npm run fuzz -- --replay ${shown}`;
}

async function replayFile(path: string): Promise<number> {
  const finding = readFinding(path);
  const target = createTarget(finding.target as TargetName);
  try {
    await replay(target, finding);
  } catch (error) {
    console.log(error);
    return 1;
  } finally {
    target.close();
  }
  console.log(`${finding.target}, ${finding.bytes.length} bytes from ${finding.origin}: nothing breaks`);
  return 0;
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text.replaceAll(/[_,]/g, ''));
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new Error(`--${name} ${text}: give a whole number above 0\n${usage}`);
}

function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', default: 'decode' },
      executions: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: '1' },
      workers: { type: 'string', default: '2' },
      replay: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return Promise.resolve(0);
  }
  if (values.replay !== undefined) return replayFile(values.replay);
  const target = targetNames.find((name) => name === values.target);
  if (target === undefined) throw new Error(`--target ${values.target}\n${usage}`);
  const number = (name: 'executions' | 'seed' | 'workers'): number => wholeNumber(name, values[name]);
  return fuzz(target, number('executions'), number('seed'), number('workers'));
}

process.exitCode = await main();
