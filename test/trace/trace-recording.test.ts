/** Recording into a file: every point of the migrations that begin, as they come; and files that fail. */
import { channel } from 'node:diagnostics_channel';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { recordTrace } from '#lib/trace/trace-recording.js';
import { TraceSession } from '#lib/trace/trace-session.js';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  path = join(folder, 'recording');
});

afterEach(() => rmSync(folder, { recursive: true }));

const lines = () => readFileSync(path, 'utf8').split('\n').slice(0, -1);

test('each point is a line, the end is the last', () => {
  const recording = recordTrace(path);
  const session = new TraceSession('source', 'owner', {});
  session.trace.at('savevm_send_ping', 7);
  session.trace.at('postcopy_start');
  session.close();
  recording.close();
  expect(lines().at(-1)).toBe('"end"');
  expect(
    lines()
      .slice(0, -1)
      .map((line) => JSON.parse(line)),
  ).toMatchObject([
    { name: 'savevm_send_ping', side: 'source', thread: 'owner', values: { value: 7 } },
    { name: 'postcopy_start', side: 'source', thread: 'owner', values: {} },
  ]);
});

test('what has come is in the file before it is closed, so a killed process leaves it', async () => {
  const recording = recordTrace(path);
  const session = new TraceSession('source', 'owner', {});
  session.trace.at('postcopy_start');
  session.close();
  await new Promise((resolve) => setImmediate(resolve));
  expect(lines()).toHaveLength(1);
  recording.close();
});

test('after it is closed nobody listens, and closing twice is once', () => {
  const recording = recordTrace(path);
  recording.close();
  recording.close();
  expect(channel('postcopy:postcopy_start').hasSubscribers).toBe(false);
  expect(lines()).toEqual(['"end"']);
});

test('a file that can’t be made is an error at once; a full disk is one at the end', () => {
  expect(() => recordTrace(join(folder, 'no', 'such', 'folder'))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  expect(channel('postcopy:postcopy_start').hasSubscribers).toBe(false);
  const recording = recordTrace('/dev/full');
  const session = new TraceSession('source', 'owner', {});
  session.trace.at('postcopy_start');
  session.close();
  expect(() => recording.close()).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
});
