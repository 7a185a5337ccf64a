/**
 * `postcopy demo`: the main job, seen from outside. Two processes, a guest that writes all the while,
 * a real socket, real faults, and at the end a check of every page.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromPlainError, MigrationError } from '../errors.js';
import type { DemoSettings, FromSide, SideDone, ToSide } from './demo-messages.js';
import { createDemoProgress, type DemoProgress } from './demo-progress.js';
import { type DemoReport, type DestinationDone, demoReport, type SourceDone } from './demo-report.js';
import { formatBytes } from './size.js';

/** Milliseconds for a side to end by itself once it was asked to. */
const END_MS = 5000;

/** One side as the parent holds it. */
interface Side {
  readonly name: string;
  readonly process: ChildProcess;
  /** It is ready; the URI where the destination listens. */
  readonly ready: Promise<string>;
  readonly done: Promise<SideDone>;
  readonly gone: Promise<void>;
}

function startSide(name: string, file: string, settings: DemoSettings, progress: DemoProgress): Side {
  const child = fork(new URL(file, import.meta.url), [JSON.stringify(settings)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const gone = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const heard = <T>(pick: (message: FromSide) => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      child.on('message', (message: FromSide) => {
        const picked = pick(message);
        if (picked !== undefined) resolve(picked);
        if (message.kind === 'failed') reject(fromPlainError(message.error));
      });
      child.on('exit', (code, signal) => {
        reject(
          new MigrationError(
            'PEER_GONE',
            `the ${name} process ended (${signal ?? `exit code ${code}`}) before it was done`,
          ),
        );
      });
    });
  child.on('message', (message: FromSide) => {
    if (message.kind === 'progress') progress.progress(message.progress);
    else if (message.kind === 'doing') progress.doing(`${name}: ${message.what}`);
  });
  const ready = heard((message) => (message.kind === 'ready' ? message.uri : undefined));
  const done = heard((message) => (message.kind === 'done' ? message.done : undefined));
  for (const promise of [ready, done]) promise.catch(() => {}); // each is awaited in its turn
  return { name, process: child, ready, done, gone };
}

function say(side: Side, message: ToSide): void {
  if (side.process.connected) side.process.send(message, () => {});
}

/** Has both sides end, and ends those that don't. */
async function endSides(sides: readonly Side[]): Promise<void> {
  for (const side of sides) say(side, { kind: 'cancel' });
  const timer = setTimeout(() => {
    for (const side of sides) side.process.kill('SIGKILL');
  }, END_MS);
  await Promise.all(sides.map(({ gone }) => gone));
  clearTimeout(timer);
}

/** The error that says most: one side's own over "the other side has gone". */
async function explain(error: unknown, sides: readonly Side[]): Promise<unknown> {
  const outcomes = await Promise.allSettled(sides.map(({ done }) => done));
  const errors = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [outcome.reason as MigrationError] : [],
  );
  const consequences: readonly string[] = ['PEER_GONE', 'PEER_FAILED', 'CANCELLED'];
  return errors.find(({ code }) => !consequences.includes(code)) ?? error;
}

async function run(settings: DemoSettings, progress: DemoProgress, interrupted: AbortSignal): Promise<DemoReport> {
  const destination = startSide('destination', './demo-destination.js', settings, progress);
  const source = startSide('source', './demo-source.js', settings, progress);
  const sides = [destination, source];
  const cancelled = new Promise<never>((_, reject) => {
    interrupted.addEventListener('abort', () =>
      reject(new MigrationError('CANCELLED', 'interrupted', { hint: 'both processes have ended' })),
    );
  });
  cancelled.catch(() => {});
  try {
    const [uri] = await Promise.race([Promise.all([destination.ready, source.ready]), cancelled]);
    progress.doing(`migrating ${formatBytes(settings.memory)} over ${uri}`);
    say(source, { kind: 'migrate', uri });
    const done = await Promise.race([Promise.all([source.done, destination.done]), cancelled]);
    return demoReport(settings, done[0] as SourceDone, done[1] as DestinationDone);
  } catch (error) {
    await endSides(sides);
    throw interrupted.aborted ? error : await explain(error, sides);
  } finally {
    progress.end();
    await Promise.all(sides.map(({ gone }) => gone));
  }
}

/** Runs the demo; `interrupted` ends both processes. Rejects with the MigrationError of the side that failed. */
export async function runDemo(settings: Omit<DemoSettings, 'uri'>, interrupted: AbortSignal): Promise<DemoReport> {
  const folder = await mkdtemp(join(tmpdir(), 'postcopy-'));
  try {
    const uri = settings.transport === 'unix' ? `unix:${join(folder, 'migration.sock')}` : 'tcp:127.0.0.1:0';
    return await run({ ...settings, uri }, createDemoProgress(), interrupted);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
