/**
 * `postcopy demo`: the main job, seen from outside. Two processes, a guest that writes all the while,
 * a real socket, real faults, and at the end a check of every page.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Observer } from '../dashboard/observer.js';
import { describeError, fromPlainError, MigrationError } from '../errors.js';
import { probeHost } from '../host/probe.js';
import { resolvePeerTimeout } from '../options.js';
import type { MigrationStatus } from '../source/migration-state.js';
import { DemoCutter } from './demo-cutter.js';
import { lookAt } from './demo-look.js';
import { checkHugepages } from './demo-memory.js';
import type { DemoSettings, FromSide, SideDone, ToSide } from './demo-messages.js';
import type { DemoProgress } from './demo-progress.js';
import { type DemoReport, type DestinationDone, demoReport, type SourceDone } from './demo-report.js';
import { prepareTrace, recordingPath, type SideName, saveTrace } from './demo-trace.js';
import { formatBytes } from './size.js';

/** Milliseconds for a side to end by itself once it was asked to. */
const END_MS = 5000;

/** Milliseconds that a connection which was cut is tried to be recovered. */
const RECOVER_FOR_MS = 60_000;

/** What the demo is asked for. */
export interface DemoWish
  extends Omit<DemoSettings, 'uri' | 'recording' | 'recoverForMs' | 'peerTimeoutMs' | 'watched'> {
  /** Milliseconds after which each connection of the postcopy is cut; null: none is. */
  readonly cutEvery: number | null;
}

/** Who sees what the demo does, besides its user. */
export interface DemoWatchers {
  /** The file that is made for Perfetto. */
  readonly trace?: string | undefined;
  readonly observer?: Observer | undefined;
}

interface RunSettings extends DemoWish {
  readonly uri: string;
  /** The folder where both sides record their trace points. */
  readonly tracedIn: string | undefined;
}

/** One side as the parent holds it. */
interface Side {
  readonly name: string;
  readonly process: ChildProcess;
  /** It is ready; the URI where the destination listens. */
  readonly ready: Promise<string>;
  readonly done: Promise<SideDone>;
  readonly gone: Promise<void>;
}

/** What of the sides' messages is not waited for. */
interface SideListener {
  readonly progress: DemoProgress;
  readonly status: (status: MigrationStatus) => void;
}

function startSide(name: SideName, settings: DemoSettings, { progress, status }: SideListener): Side {
  const child = fork(new URL(`./demo-${name}.js`, import.meta.url), [JSON.stringify(settings)], {
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
    else if (message.kind === 'status') status(message.status);
    else if (message.kind === 'doing') progress.doing(`${name}: ${message.what}`);
    else if (message.kind === 'event') progress.event(`${name}: ${message.text}`, { level: message.level, side: name });
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
  const consequences: readonly string[] = ['PEER_GONE', 'PEER_FAILED', 'CANCELLED', 'RECOVERY_GIVEN_UP'];
  return errors.find(({ code }) => !consequences.includes(code)) ?? error;
}

async function run(
  settings: RunSettings,
  progress: DemoProgress,
  observer: Observer | undefined,
  interrupted: AbortSignal,
): Promise<DemoReport> {
  const { tracedIn, cutEvery, ...wished } = settings;
  const recoverForMs = cutEvery === null ? 0 : RECOVER_FOR_MS;
  const watched = observer !== undefined;
  const common = { ...wished, watched, recoverForMs, peerTimeoutMs: resolvePeerTimeout() };
  const cutter = cutEvery === null ? undefined : new DemoCutter(cutEvery);
  const status = (now: MigrationStatus) => cutter?.sourceIs(now);
  const start = (name: SideName) => {
    const recording = tracedIn === undefined ? null : recordingPath(tracedIn, name);
    return startSide(name, { ...common, recording }, { progress, status });
  };
  const destination = start('destination');
  const source = start('source');
  const sides = [destination, source];
  const observed = observer?.begin([source, destination].map((side) => lookAt(side.process)));
  let outcome = { isSuccess: false, text: 'interrupted' };
  const cancelled = new Promise<never>((_, reject) => {
    interrupted.addEventListener('abort', () =>
      reject(new MigrationError('CANCELLED', 'interrupted', { hint: 'both processes have ended' })),
    );
  });
  cancelled.catch(() => {});
  try {
    const [uri] = await Promise.race([Promise.all([destination.ready, source.ready]), cancelled]);
    progress.doing(`migrating ${formatBytes(settings.memory)} over ${uri}`);
    say(source, { kind: 'migrate', uri: (await cutter?.openTo(uri)) ?? uri });
    const done = await Promise.race([Promise.all([source.done, destination.done]), cancelled]);
    const report = demoReport(common, done[0] as SourceDone, done[1] as DestinationDone);
    const found = report.verified ? 'every page is right' : 'pages are not right';
    outcome = { isSuccess: report.verified, text: `${report.status}: ${found}` };
    return report;
  } catch (error) {
    await endSides(sides);
    const reason = interrupted.aborted ? error : await explain(error, sides);
    outcome = { isSuccess: false, text: `failed: ${describeError(reason)}` };
    throw reason;
  } finally {
    progress.end();
    await Promise.all(sides.map(({ gone }) => gone));
    await cutter?.close();
    await observed?.end(outcome);
  }
}

/** Makes the trace of what was recorded, however the migration went, and says where it is. */
async function runTraced(
  trace: string,
  folder: string,
  say: (text: string) => void,
  migration: () => Promise<DemoReport>,
): Promise<DemoReport> {
  await prepareTrace(trace);
  try {
    const report = await migration();
    say(await saveTrace(trace, folder));
    return report;
  } catch (error) {
    // The migration's error matters more than one of the trace.
    say(await saveTrace(trace, folder).catch(describeError));
    throw error;
  }
}

/**
 * Runs the demo, which `progress` tells of until its end; `interrupted` ends both processes. With `trace`, that file is
 * made for Perfetto. Rejects with the MigrationError of the side that failed, GUEST_UNAVAILABLE or BAD_ARGUMENT.
 */
export async function runDemo(
  settings: DemoWish,
  { trace, observer }: DemoWatchers,
  interrupted: AbortSignal,
  progress: DemoProgress,
): Promise<DemoReport> {
  if (settings.kind === 'hugetlb') checkHugepages(settings.memory, settings.blocks, probeHost().hugepages);
  const folder = await mkdtemp(join(tmpdir(), 'postcopy-'));
  try {
    const uri = settings.transport === 'unix' ? `unix:${join(folder, 'migration.sock')}` : 'tcp:127.0.0.1:0';
    const tracedIn = trace === undefined ? undefined : folder;
    const migration = () => run({ ...settings, uri, tracedIn }, progress, observer, interrupted);
    return await (trace === undefined ? migration() : runTraced(trace, folder, progress.event, migration));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
