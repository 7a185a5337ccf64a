/** The demo's trace: each side records its own points, here they become one file, and a sentence about it. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, MigrationError } from '../errors.js';
import { type TraceFileSummary, writeTraceFile } from '../trace/trace-file.js';
import { formatCount } from './size.js';

export type SideName = 'source' | 'destination';

const sides: readonly SideName[] = ['source', 'destination'];

/** Where in the demo's folder a side records. */
export function recordingPath(folder: string, side: SideName): string {
  return join(folder, `${side}.recording`);
}

function unwritable(path: string, cause: unknown): MigrationError {
  return new MigrationError('BAD_ARGUMENT', `can't write the trace: ${describeError(cause)}`, {
    hint: `give --trace a file in a folder where this user may write, and that has room; ${path} is none`,
    cause,
  });
}

/** Makes the file, so that a migration is not run for a trace that can't be kept. Rejects with BAD_ARGUMENT. */
export async function prepareTrace(path: string): Promise<void> {
  try {
    await (await open(path, 'w')).close();
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** Makes one file of what the sides recorded; says where it is. Rejects with BAD_ARGUMENT. */
export async function saveTrace(path: string, folder: string): Promise<string> {
  const recordings = sides.map((side) => recordingPath(folder, side));
  try {
    const summary = await writeTraceFile(path, recordings);
    const cutOff = sides.filter((side) => summary.incomplete.includes(recordingPath(folder, side)));
    return traceSentence(path, summary, cutOff);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

/** What is in the file, what is missing, and how to open it. */
export function traceSentence(path: string, summary: TraceFileSummary, cutOff: readonly SideName[]): string {
  const missing = [
    ...(summary.dropped === 0
      ? []
      : [`${formatCount(summary.dropped)} more came too fast and are missing, marked trace_dropped`]),
    ...cutOff.map((side) => `the ${side}'s part breaks off, as its process was ended`),
  ];
  const said = [`${formatCount(summary.points)} trace points in ${path}`, ...missing].join('; ');
  return `${said}; open it at https://ui.perfetto.dev or chrome://tracing`;
}
