/** The options by which a migration is watched. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addWatchOptions, endRun, openObserver, type WatchOptions } from '#lib/cli/watch-options.js';

const parsed = (...args: string[]): WatchOptions =>
  addWatchOptions(new Command().exitOverride().configureOutput({ writeErr: () => {} }))
    .parse(args, { from: 'user' })
    .opts();

test('where the dashboard is to listen', () => {
  expect(parsed().dashboard).toBeUndefined();
  expect(parsed('--dashboard').dashboard).toBe(true);
  expect(parsed('--dashboard', '8080').dashboard).toBe('tcp:127.0.0.1:8080');
  expect(parsed('--dashboard=unix:/run/d').dashboard).toBe('unix:/run/d');
  expect(() => parsed('--dashboard', 'nowhere')).toThrow('nowhere to listen');
});

test('nobody watches who was not asked to', async () => {
  expect(await openObserver({}, 'a test', () => {})).toBeUndefined();
});

test('says where it is, and keeps how a migration ended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const said: string[] = [];
  const report = join(folder, 'r.html');
  const observer = await openObserver({ dashboard: true, report }, 'a test', (text) => said.push(text));
  expect(said).toEqual([expect.stringMatching(/^dashboard at http:\/\/127\.0\.0\.1:\d+\/$/)]);
  expect((await fetch(observer?.url ?? '')).status).toBe(200);
  await endRun(observer?.begin([]), Promise.resolve());
  await endRun(observer?.begin([]), Promise.reject(new Error('the peer has gone')));
  await observer?.close();
  const text = readFileSync(report, 'utf8');
  expect(text).toContain('"text":"completed"');
  expect(text).toContain('"text":"failed: the peer has gone"');
  rmSync(folder, { recursive: true });
});

test('other hosts have to be let', async () => {
  const open = openObserver({ dashboard: 'tcp:0.0.0.0:0' }, 'a test', () => {});
  await expect(open).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  const observer = await openObserver({ dashboard: 'tcp:0.0.0.0:0', dashboardAnyHost: true }, 'a test', () => {});
  expect(observer?.url).toMatch(/^http:\/\/0\.0\.0\.0:/);
  await observer?.close();
});
