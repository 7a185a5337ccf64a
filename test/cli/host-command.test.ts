/** `postcopy host` as a user runs it: where it listens, what it says, how it ends. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { inCheckout } from '../../testing/checkout.ts';
import { PostcopyHost } from '../../testing/postcopy-host.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const small = ['--guest', 'stress', '--memory', '4M'];
const start = (...args: string[]) => PostcopyHost.start(`${folder}/qmp`, ...small, ...args);
const run = (...args: string[]) =>
  execa(process.execPath, [inCheckout('dist/cli/main.js'), 'host', ...args], { reject: false, env: { NO_COLOR: '1' } });

test('holds a guest that runs, for several clients at once, and ends at quit', async () => {
  await using host = await start();
  const other = await PostcopyHost.client(`${folder}/qmp`);
  expect(await host.qmp.execute('query-status')).toMatchObject({ status: 'running' });
  await other.execute('stop');
  await host.qmp.event('STOP');
  expect(await host.qmp.execute('query-status')).toMatchObject({ status: 'paused' });
  await other.execute('quit');
  await host.qmp.event('SHUTDOWN');
  expect(await host.ended).toBe(0);
  expect(host.said.all).toEqual(expect.arrayContaining(['STOP', expect.stringContaining('SHUTDOWN')]));
  expect(existsSync(`${folder}/qmp`)).toBe(false);
});

test('listens at several places, and for a guest at one', async () => {
  await using host = await start('--qmp', 'tcp:127.0.0.1:0', '--incoming', `unix:${folder}/migration`);
  expect(host.said.all.filter((line) => line.startsWith('QMP at'))).toEqual([
    `QMP at unix:${folder}/qmp`,
    expect.stringMatching(/^QMP at tcp:127\.0\.0\.1:\d+$/),
  ]);
  expect(await host.qmp.execute('query-status')).toMatchObject({ status: 'inmigrate' });
  expect(await host.qmp.execute('query-migrate')).toEqual({
    'socket-address': [{ type: 'unix', path: `${folder}/migration` }],
  });
  host.interrupt();
  await host.qmp.event('SHUTDOWN', ({ reason }) => reason === 'host-signal');
  expect(await host.ended).toBe(130);
});

test('a postcopy that is under way does not keep it from its end', async () => {
  await using destination = await PostcopyHost.start(`${folder}/d`, ...small, '--incoming', 'defer');
  await using source = await start();
  const uri = `unix:${folder}/migration`;
  const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }));
  for (const { qmp } of [source, destination]) await qmp.execute('migrate-set-capabilities', { capabilities });
  await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 50_000, 'max-postcopy-bandwidth': 50_000 });
  await destination.qmp.execute('migrate-incoming', { uri });
  await source.qmp.execute('migrate', { uri });
  await source.qmp.execute('migrate-start-postcopy');
  await destination.qmp.event('MIGRATION', ({ status }) => status === 'postcopy-active');
  await source.qmp.execute('quit');
  expect(await source.ended).toBe(0);
  await destination.qmp.event('MIGRATION', ({ status }) => status === 'postcopy-paused');
  await destination.qmp.execute('quit');
  expect(await destination.ended).toBe(0);
});

describe('what can’t be', () => {
  test('is said in one line', async () => {
    const open = await run('--qmp', 'tcp:0.0.0.0:0', ...small);
    expect(open.exitCode).toBe(1);
    expect(open.stderr).toMatch(/^postcopy: tcp:0\.0\.0\.0:0 is open to other hosts.*: listen at unix:/m);
    const nowhere = await run('--qmp', `unix:${folder}/none/qmp`, ...small);
    expect([nowhere.exitCode, nowhere.stderr.trim().split('\n').length]).toEqual([1, 1]);
    const astray = await run('--qmp', `unix:${folder}/qmp`, ...small, '--incoming', 'nope');
    expect([astray.exitCode, astray.stderr]).toEqual([1, expect.stringContaining('bad migration URI "nope"')]);
    const taken = await run('--qmp', `unix:${folder}/qmp`, '--qmp', `unix:${folder}/qmp`, ...small);
    expect(taken.exitCode).toBe(1);
    expect(existsSync(`${folder}/qmp`)).toBe(false);
  });

  test('or not be understood, is exit code 2', async () => {
    expect((await run(...small)).exitCode).toBe(2);
    expect((await run('--help')).stdout).toContain('$ postcopy host --qmp unix:/tmp/source.qmp');
  });
});
