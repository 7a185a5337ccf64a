/** The server of the live page: each browser has all there is, also one that has missed something. */

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LivePage } from '#lib/dashboard/live-page.js';
import type { Model, Run } from '#lib/dashboard/model.js';
import { EventReader } from '../../testing/event-reader.ts';

let folder: string;
let live: LivePage;
let model: Model;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  model = { title: 'a test', runs: [] };
  live = await LivePage.open({ uri: `unix:${folder}/d`, anyHost: false, model: () => model });
});
afterEach(async () => {
  await live.close();
  rmSync(folder, { recursive: true });
});

const run = (id: number): Run => ({ id, startedMs: 0, outcome: null, source: null, destination: null });

async function asked(path: string): Promise<IncomingMessage> {
  const request = get({ socketPath: `${folder}/d`, path, headers: { host: 'localhost' }, agent: false });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return response;
}

test.each([
  ['/', 'text/html; charset=utf-8'],
  ['/page.js', 'text/javascript; charset=utf-8'],
  ['/page.css', 'text/css; charset=utf-8'],
  ['/model.json', 'application/json; charset=utf-8'],
])('%s is %s', async (path, type) => {
  const response = await asked(path);
  response.resume();
  expect([response.statusCode, response.headers['content-type']]).toEqual([200, type]);
});

test('a browser is told all there is when it comes, then what is new, and at the end that it is', async () => {
  expect(live.isWatched).toBe(false);
  const reader = new EventReader(await asked('/events'));
  expect(await reader.next()).toEqual({ event: 'model', data: model });
  expect(live.isWatched).toBe(true);
  live.tell([run(1)]);
  expect(await reader.next()).toEqual({ event: 'update', data: [run(1)] });
  model = { title: 'a test', runs: [run(1)] };
  const [last] = await Promise.all([reader.next(), live.close()]);
  expect(last).toEqual({ event: 'end', data: model });
  expect(live.isWatched).toBe(false);
});

test('one that has missed something is told all anew', async () => {
  const response = await asked('/events'); // which nobody reads for now
  const big = { ...run(1), outcome: { isSuccess: true, text: 'x'.repeat(8 * 1024 * 1024) } };
  await expect.poll(() => live.isWatched, { timeout: 20_000 }).toBe(true);
  for (let told = 0; told < 5; told += 1) live.tell([big]);
  const reader = new EventReader(response);
  const heard = [(await reader.next()).event, (await reader.next()).event];
  expect(heard).toEqual(['model', 'update']);
  model = { title: 'later', runs: [run(2)] };
  const next = reader.next();
  await expect
    .poll(
      async () => {
        live.tell([run(2)]);
        return Promise.race([next, undefined]);
      },
      { timeout: 20_000 },
    )
    .toEqual({ event: 'model', data: model });
});
