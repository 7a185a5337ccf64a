/** The file for Perfetto: recordings of several processes on one clock, whole or cut off, however long. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeTraceFile } from '#lib/trace/trace-file.js';
import type { TraceMessage } from '#lib/trace/trace-session.js';
import { traceEventBreaches } from '../../testing/trace-event-rules.ts';

let folder: string;
let out: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  out = join(folder, 'out.json');
});

afterEach(() => rmSync(folder, { recursive: true }));

type Side = TraceMessage['side'];

const point = (side: Side, timestampUs: number, name: string, values: TraceMessage['values'] = {}): string =>
  JSON.stringify({ name, side, thread: side === 'source' ? 'mig/src/main' : 'mig/dst/main', timestampUs, values });

/** Writes a recording; without `"end"` as its last line it is one that was cut off. */
function recording(name: Side, lines: string[], cut = 0): string {
  const path = join(folder, name);
  const text = `${lines.join('\n')}\n`;
  writeFileSync(path, text.slice(0, text.length - cut));
  return path;
}

const read = () => JSON.parse(readFileSync(out, 'utf8'));

const instants = () =>
  read().traceEvents.flatMap(({ ph, name, ts }: { ph: string; name: string; ts: number }) =>
    ph === 'i' ? [[name, ts]] : [],
  );

test('points of both sides stand in order of time', async () => {
  const source = recording('source', [
    point('source', 10.5, 'postcopy_start_set_run'),
    point('source', 30, 'savevm_send_ping', { value: 2 }),
    '"end"',
  ]);
  const destination = recording('destination', [
    point('destination', 10.25, 'loadvm_state_header'),
    point('destination', 20, 'loadvm_state_configuration'),
    '"end"',
  ]);
  const summary = await writeTraceFile(out, [source, destination]);
  expect(summary).toEqual({ points: 4, dropped: 0, incomplete: [] });
  expect(instants()).toEqual([
    ['loadvm_state_header', 10.25],
    ['postcopy_start_set_run', 10.5],
    ['loadvm_state_configuration', 20],
    ['savevm_send_ping', 30],
  ]);
  expect(traceEventBreaches(read())).toEqual([]);
});

test('what the rings dropped is counted, and stands in the file', async () => {
  const dropped = point('source', 5, 'trace_dropped', { records: 12 });
  const summary = await writeTraceFile(out, [recording('source', [dropped, dropped, '"end"'])]);
  expect(summary).toEqual({ points: 0, dropped: 24, incomplete: [] });
  expect(read().otherData).toMatchObject({ dropped: 24 });
});

test('a recording that breaks off, or never began, is taken as far as it goes, and named', async () => {
  const cut = recording('source', [point('source', 1, 'postcopy_start'), point('source', 2, 'savevm_state_setup')], 9);
  const absent = join(folder, 'destination');
  const summary = await writeTraceFile(out, [cut, absent]);
  expect(summary).toEqual({ points: 1, dropped: 0, incomplete: [cut, absent] });
  expect(traceEventBreaches(read())).toEqual([]);
  expect(read().traceEvents.at(-1)).toMatchObject({ ph: 'E', name: 'postcopy start', args: { unfinished: true } });
});

test('nothing recorded is a trace of nothing', async () => {
  await writeTraceFile(out, [recording('source', ['"end"'])]);
  expect(read().traceEvents).toEqual([]);
});

test('a file that can’t be written is an error', async () => {
  const source = recording('source', ['"end"']);
  await expect(writeTraceFile(join(folder, 'no', 'out.json'), [source])).rejects.toMatchObject({ code: 'ENOENT' });
});

test('half a million points take no more memory than a few', async () => {
  const path = join(folder, 'destination');
  for (let from = 0; from < 500_000; from += 5000) {
    const lines = Array.from({ length: 5000 }, (_, i) =>
      point('destination', from + i, 'postcopy_place_page', { block: 'ram', offset: from, length: 4096 }),
    );
    writeFileSync(path, `${lines.join('\n')}\n`, { flag: 'a' });
  }
  writeFileSync(path, '"end"\n', { flag: 'a' });
  const peak = () => process.resourceUsage().maxRSS * 1024;
  const before = peak();
  const { points } = await writeTraceFile(out, [path]);
  expect(points).toBe(500_000);
  const { size } = statSync(out);
  expect(size).toBeGreaterThan(70e6);
  expect(peak() - before).toBeLessThan(size / 2);
});
