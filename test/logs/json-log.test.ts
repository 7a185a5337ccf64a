/** Records as they are written. */
import { expect, test } from 'vitest';
import { createJsonLog } from '#lib/logs/json-log.js';
import type { LogLevel } from '#lib/logs/log.js';

async function collect(level: LogLevel) {
  const lines: string[] = [];
  const log = await createJsonLog(level, { write: (line) => lines.push(line) });
  return { log, records: () => lines.map((line) => JSON.parse(line)) };
}

test('a record has its time, its level by name, the process, what is said and the figures', async () => {
  const { log, records } = await collect('info');
  log('warn', 'paused', { event: 'pause', pausedMs: 12 });
  const [record] = records();
  expect(record).toEqual({
    level: 'warn',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    pid: process.pid,
    msg: 'paused',
    event: 'pause',
    pausedMs: 12,
  });
});

test('what is below its level is not written', async () => {
  const { log, records } = await collect('warn');
  log('info', 'no');
  log('debug', 'no');
  log('error', 'yes');
  expect(records().map(({ msg }) => msg)).toEqual(['yes']);
});
