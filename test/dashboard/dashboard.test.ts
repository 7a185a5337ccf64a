/** The live page, served by a thread of its own: what its owner tells comes to a browser, and where it listens. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Dashboard } from '#lib/dashboard/dashboard.js';
import type { Run } from '#lib/dashboard/model.js';
import { EventReader } from '../../testing/event-reader.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const model = { title: 'a test', runs: [] };
const run: Run = { id: 1, startedMs: 0, outcome: null, source: null, destination: null };

test('at a unix socket of its user alone: told to a browser, and gone at the end', async () => {
  const path = `${folder}/d`;
  const dashboard = await Dashboard.open({ uri: `unix:${path}`, anyHost: false, model });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(['d']);
  const taken = Dashboard.open({ uri: `unix:${path}`, anyHost: false, model });
  await expect(taken).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
  dashboard.tell([run]);
  const request = get({ socketPath: path, path: '/events', headers: { host: 'localhost' }, agent: false });
  const reader = new EventReader(((await once(request, 'response')) as [IncomingMessage])[0]);
  expect(await reader.next()).toEqual({ event: 'model', data: { ...model, runs: [run] } });
  await expect.poll(() => dashboard.isWatched, { timeout: 20_000 }).toBe(true);
  const outcome = { isSuccess: true, text: 'completed' };
  dashboard.tell([{ ...run, outcome }]);
  expect(await reader.next()).toEqual({ event: 'update', data: [{ ...run, outcome }] });
  const [last] = await Promise.all([reader.next(), dashboard.close()]);
  expect(last).toEqual({ event: 'end', data: { ...model, runs: [{ ...run, outcome }] } });
  expect(existsSync(path)).toBe(false);
});

test('a port is filled in, and one that is taken or open to others is refused', async () => {
  const dashboard = await Dashboard.open({ uri: 'tcp:127.0.0.1:0', anyHost: false, model });
  const { port } = new URL(dashboard.url);
  const again = Dashboard.open({ uri: `tcp:127.0.0.1:${port}`, anyHost: false, model });
  await expect(again).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
  const open = Dashboard.open({ uri: 'tcp:0.0.0.0:0', anyHost: false, model });
  await expect(open).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  await dashboard.close();
});
