/** The demo's trace file: made of what the sides recorded, and what is said of it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prepareTrace, recordingPath, saveTrace, traceSentence } from '#lib/cli/demo-trace.js';
import { traceEventBreaches } from '../../testing/trace-event-rules.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

test('both sides’ recordings become one file', async () => {
  for (const side of ['source', 'destination'] as const) {
    const point = { name: 'savevm_state_setup', side, thread: `mig/${side}`, timestampUs: 5, values: {} };
    writeFileSync(recordingPath(folder, side), `${JSON.stringify(point)}\n"end"\n`);
  }
  const path = join(folder, 'out.json');
  expect(await saveTrace(path, folder)).toMatch(/^2 trace points in .*out\.json; open it at https:/);
  const file = JSON.parse(readFileSync(path, 'utf8'));
  expect(traceEventBreaches(file)).toEqual([]);
  const processes = file.traceEvents.filter(({ name }: { name: string }) => name === 'process_name');
  expect(processes.map(({ args }: { args: { name: string } }) => args.name)).toEqual(['source', 'destination']);
});

test('what is missing is said', () => {
  const summary = { points: 12_345, dropped: 1000, incomplete: [] };
  const said = traceSentence('out.json', summary, ['source']);
  expect(said).toContain('12,345 trace points in out.json; 1,000 more came too fast');
  expect(said).toContain("the source's part breaks off");
  expect(traceSentence('out.json', { ...summary, dropped: 0 }, [])).not.toMatch(/missing|breaks off/);
});

test('a killed side leaves what it had recorded', async () => {
  const said = await saveTrace(join(folder, 'out.json'), folder);
  expect(said).toContain('0 trace points');
  expect(said).toContain("the source's part breaks off");
  expect(said).toContain("the destination's part breaks off");
});

test('where it can’t be written is said before anything is run', async () => {
  const path = join(folder, 'no', 'out.json');
  await expect(prepareTrace(path)).rejects.toMatchObject({ code: 'BAD_ARGUMENT', hint: expect.stringContaining(path) });
  await expect(saveTrace(path, folder)).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
});
