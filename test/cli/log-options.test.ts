/** The options of the log, and a command whose stderr is one: nothing but records. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { execa } from 'execa';
import { afterAll, describe, expect, test } from 'vitest';
import { addLogOptions, defaultLogOptions } from '#lib/cli/log-options.js';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
afterAll(() => rmSync(folder, { recursive: true }));

const postcopy = (...args: string[]) =>
  execa(process.execPath, [main, ...args], { reject: false, timeout: 60_000, env: { FORCE_COLOR: '1' } });

const records = (stderr: string) => stderr.split('\n').map((line) => JSON.parse(line));

test('their defaults', () => {
  const command = addLogOptions(new Command());
  expect(command.parse([], { from: 'user' }).opts()).toEqual(defaultLogOptions);
});

test('a migration as records: the states of both sides, with figures', async () => {
  const args = ['demo', '--guest', 'stress', '--memory', '16M', '--log-format', 'json', '--json'];
  const { exitCode, stdout, stderr } = await postcopy(...args);
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ status: 'completed', verified: true });
  const all = records(stderr);
  expect(new Set(all.map(({ level }) => level))).toEqual(new Set(['info']));
  const states = all.filter(({ event }) => event === 'status');
  for (const side of ['source', 'destination'])
    expect(states).toContainEqual(
      expect.objectContaining({ side, status: 'completed', transferred: expect.any(Number) }),
    );
});

test('with debug each pass and recovery is one as well', async () => {
  const args = ['demo', '--guest', 'stress', '--memory', '16M', '--log-format', 'json', '--log-level', 'debug'];
  const all = records((await postcopy(...args)).stderr);
  expect(all).toContainEqual(expect.objectContaining({ level: 'debug', msg: 'source: pass 1 is done' }));
});

describe('a failure is a record with code and hint', () => {
  test.each([
    [['send', `unix:${folder}/nobody`, '--from', `${folder}/nothing`], 1, 'MACHINE_INVALID'],
    [['receive', 'nowhere'], 1, 'BAD_URI'],
    [['receive'], 2, 'BAD_ARGUMENT'],
    [['demo', '--memory', 'much'], 2, 'BAD_ARGUMENT'],
  ])('%j', async (args, code, name) => {
    const { exitCode, stdout, stderr } = await postcopy(...args, '--log-format', 'json', '--json');
    expect(exitCode).toBe(code);
    const error = expect.objectContaining({ code: name, hint: expect.any(String), message: expect.any(String) });
    expect(records(stderr)).toEqual([expect.objectContaining({ level: 'error', error })]);
    expect(JSON.parse(stdout)).toEqual({ status: 'failed', error });
  });
});

test('with a level above info a demo that goes well says nothing', async () => {
  const { exitCode, stderr } = await postcopy('demo', '--guest', 'stress', '--memory', '16M', '--log-level', 'warn');
  expect(exitCode).toBe(0);
  expect(stderr).toBe('');
});
