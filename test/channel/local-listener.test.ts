/** Where servers for this host's own users listen. */
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isLoopback, listenLocally } from '#lib/channel/local-listener.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function listening(uri: string, anyHost = false) {
  const server = createServer();
  const at = await listenLocally(server, uri, { anyHost, gives: 'the figures' });
  return { at, [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())) };
}

test('a unix socket is its user’s alone, and taken while it is open', async () => {
  const path = join(folder, 'socket');
  const umask = process.umask();
  {
    await using server = await listening(`unix:${path}`);
    expect(server.at).toBe(`unix:${path}`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(umask);
    await expect(listening(`unix:${path}`)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
  }
  expect(existsSync(path)).toBe(false);
});

test('a port is filled in, and one that other hosts reach has to be wished', async () => {
  await using server = await listening('tcp:localhost:0');
  expect(server.at).toMatch(/^tcp:localhost:[1-9]\d*$/);
  await expect(listening('tcp:0.0.0.0:0')).rejects.toThrow('whoever connects has the figures');
  await using open = await listening('tcp:0.0.0.0:0', true);
  expect(open.at).toMatch(/^tcp:0\.0\.0\.0:[1-9]\d*$/);
});

test('loopback is a name or an address of this host for itself, and nothing that looks like one', () => {
  expect(['127.0.0.1', '127.9.9.9', '::1', 'localhost'].every(isLoopback)).toBe(true);
  expect(['0.0.0.0', '::', '', '127.0.0.1.x', 'localhost.x', '1127.0.0.1'].some(isLoopback)).toBe(false);
});
