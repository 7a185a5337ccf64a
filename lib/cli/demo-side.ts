/**
 * What the demo's source and destination processes have in common: they report to the parent, do what
 * it says, and end with it. They leave Ctrl-C to the parent, as a terminal sends it to all three.
 */
import type { LookOptions, SideWatch } from '../dashboard/side-watch.js';
import { describeError, MigrationError, toPlainError } from '../errors.js';
import { recordTrace, type TraceRecording } from '../trace/trace-recording.js';
import { AutoRecovery, type AutoRecoveryOptions, type PausableMigration } from './auto-recovery.js';
import type { DemoSettings, FromSide, SideProgress, ToSide } from './demo-messages.js';

/** Milliseconds between two reports of progress. */
const PROGRESS_MS = 100;

/** To the parent; nothing where it has gone. */
export function tell(message: FromSide): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

let watch: SideWatch | undefined;

/** From now on the parent may look. */
export function showSide(side: SideWatch): void {
  watch = side;
}

function look(options: LookOptions): void {
  tell({ kind: 'look', snapshot: watch?.look(options) ?? null });
}

/** The last look, where this is watched: the guest may be closed then. */
export function lookForTheLastTime({ watched }: DemoSettings): void {
  if (watched) look({ map: true, isLast: true });
  watch = undefined;
}

/** Reports progress again and again until the returned function is called, which reports it for the last time. */
export function reportProgress(look: () => SideProgress): () => void {
  const report = () => tell({ kind: 'progress', progress: look() });
  const timer = setInterval(report, PROGRESS_MS);
  return () => {
    clearInterval(timer);
    report();
  };
}

/** Of pauses and recoveries, which the lines of progress count. */
function tellQuietly(text: string): void {
  tell({ kind: 'event', text, level: 'debug' });
}

/** Has the migration recover by itself, until its user wants an end. */
export function recoverByItself(
  migration: PausableMigration,
  cancelled: AbortSignal,
  how: Omit<AutoRecoveryOptions, 'tell'>,
): AutoRecovery {
  const recovery = new AutoRecovery(migration, { ...how, tell: tellQuietly });
  cancelled.addEventListener('abort', () => recovery.giveUpNow());
  return recovery;
}

/** Runs a side to its end. `cancelled` is aborted when the user wants an end, or the parent is gone. */
export async function runSide(
  side: (settings: DemoSettings, cancelled: AbortSignal, told: Promise<string>) => Promise<void>,
): Promise<void> {
  const controller = new AbortController();
  const told = new Promise<string>((resolve) => {
    process.on('message', (message: ToSide) => {
      if (message.kind === 'migrate') resolve(message.uri);
      else if (message.kind === 'look') look(message);
      else controller.abort();
    });
  });
  process.on('SIGINT', () => {});
  process.on('disconnect', () => controller.abort());
  const settings = JSON.parse(process.argv[2]) as DemoSettings;
  let recording: TraceRecording | undefined;
  let code = 0;
  try {
    if (settings.recording !== null) recording = recordTrace(settings.recording);
    await side(settings, controller.signal, told);
  } catch (error) {
    code = 1;
    lookForTheLastTime(settings);
    tell({ kind: 'failed', error: toPlainError(whatFailed(error)) });
  }
  endRecording(recording);
  await flushAndExit(code);
}

/** Where nobody has a pause recovered, the reason of the pause is that of the failure. */
function whatFailed(error: unknown): unknown {
  return error instanceof MigrationError && error.code === 'RECOVERY_GIVEN_UP' ? (error.cause ?? error) : error;
}

/** A recording that can't be written spoils the trace, which says that it breaks off, and not the migration. */
function endRecording(recording: TraceRecording | undefined): void {
  try {
    recording?.close();
  } catch (error) {
    tell({ kind: 'event', text: `the trace: ${describeError(error)}`, level: 'warn' });
  }
}

/** Ends the process once what was told has been sent. A guest that still waits for pages ends with it. */
async function flushAndExit(code: number): Promise<void> {
  await new Promise<void>((resolve) => {
    if (!process.connected) return resolve();
    process.once('disconnect', resolve);
    process.disconnect();
  });
  process.exit(code);
}
