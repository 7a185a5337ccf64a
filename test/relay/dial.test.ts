/** Dialling: waits for who is not there yet, no longer than asked, and can be called off. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { dial, netAddress } from '#lib/relay/dial.js';
import { Destination } from '../../testing/relay-peers.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const never = new AbortController().signal;
const quiet = () => {};

test('tries again until somebody listens, and says once that it waits', async () => {
  const uri = `unix:${folder}/late`;
  let told = 0;
  let listening: Promise<Destination> | undefined;
  const waiting = () => {
    told++;
    listening = Destination.at(uri);
  };
  const socket = await dial(uri, { timeoutMs: 60_000, waiting, signal: never });
  expect(told).toBe(1);
  const destination = (await listening) as Destination;
  await destination.peer();
  expect(socket.isPaused()).toBe(true);
  socket.destroy();
  destination.close();
});

test('a path that is no socket, or a host that is none, is not tried again', async () => {
  const waiting = () => {
    throw new Error('waits');
  };
  await expect(dial(`unix:${folder}/a/b`, { timeoutMs: 0, waiting, signal: never })).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
  });
  await expect(dial(`unix:${folder}`, { timeoutMs: 0, waiting, signal: never })).rejects.toMatchObject({
    code: 'CONNECT_REFUSED',
  });
});

test('called off while it waits', async () => {
  const controller = new AbortController();
  const waiting = () => controller.abort(new Error('enough'));
  await expect(
    dial(`unix:${folder}/nobody`, { timeoutMs: 60_000, waiting, signal: controller.signal }),
  ).rejects.toThrow('enough');
  await expect(
    dial(`unix:${folder}/nobody`, { timeoutMs: 60_000, waiting: quiet, signal: controller.signal }),
  ).rejects.toThrow('enough');
});

test('what node takes for a migration URI', () => {
  expect(netAddress('unix:/tmp/a')).toEqual({ path: '/tmp/a' });
  expect(netAddress('tcp:[::1]:80')).toEqual({ host: '::1', port: 80 });
});
