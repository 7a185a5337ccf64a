/** A QMP server: who may connect, several at once, and hostile clients that change nothing for the others. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { QmpServer, type QmpServerOptions } from '#lib/qmp/server.js';
import { command } from '#lib/qmp/session.js';
import { inCheckout } from '../../testing/checkout.ts';
import { QmpClient } from '../../testing/qemu/qmp.ts';

const commands = new Map([['query-status', command({}, () => ({ status: 'running' }))]]);
const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'a test' };

let folder: string;
let path: string;
let servers: QmpServer[] = [];
let sockets: Socket[] = [];
let children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  path = join(folder, 'qmp');
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  for (const child of children) child.kill('SIGKILL');
  await Promise.all(servers.map((server) => server.close()));
  servers = [];
  sockets = [];
  children = [];
  rmSync(folder, { recursive: true });
});

async function listen(uri = `unix:${path}`, options: Partial<QmpServerOptions> = {}): Promise<QmpServer> {
  const server = await QmpServer.listen(uri, { commands, version, ...options });
  servers.push(server);
  return server;
}

async function connected(to: string | number = path): Promise<Socket> {
  const socket = typeof to === 'number' ? connect(to, '127.0.0.1') : connect(to);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

const client = async (to?: string | number): Promise<QmpClient> => QmpClient.open(await connected(to), 'the server');

describe('where it listens', () => {
  test('a unix socket is its user’s alone, and gone with it', async () => {
    const umask = process.umask();
    const server = await listen();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(umask);
    expect(server.uri).toBe(`unix:${path}`);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });

  test('a port is filled in', async () => {
    const { uri } = await listen('tcp:127.0.0.1:0');
    const port = Number(/^tcp:127\.0\.0\.1:(\d+)$/.exec(uri)?.[1]);
    expect(await (await client(port)).execute('query-status')).toEqual({ status: 'running' });
  });

  test('other hosts can’t connect unless they are let', async () => {
    for (const uri of ['tcp::0', 'tcp:0.0.0.0:0', 'tcp:[::]:0', 'tcp:127.0.0.1.example.com:0']) {
      await expect(listen(uri)).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    }
    const { uri } = await listen('tcp:0.0.0.0:0', { anyHost: true });
    expect(uri).toMatch(/^tcp:0\.0\.0\.0:\d+$/);
    expect(Object.keys(networkInterfaces()).length).toBeGreaterThan(0);
  });

  test('a socket that a killed process left is replaced; one that is in use, or another file, is not', async () => {
    const left = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(path)},
      () => process.stdout.write('listens'))`,
    ]);
    await once(left.stdout, 'data');
    left.kill('SIGKILL');
    await once(left, 'exit');
    expect(existsSync(path)).toBe(true);
    await listen();
    await expect(listen()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    await (await client()).execute('query-status');
    writeFileSync(join(folder, 'file'), '');
    await expect(listen(`unix:${folder}/file`)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    await expect(listen(`unix:${folder}/none/qmp`)).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    await expect(listen('nope')).rejects.toMatchObject({ code: 'BAD_URI' });
  });

  test('a taken port is said to be', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    await expect(listen(`tcp:127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    other.close();
  });
});

describe('several clients', () => {
  test('each has its own negotiation, and all that have negotiated are told events', async () => {
    const server = await listen();
    const [one, other] = [await client(), await client()];
    const silent = await connected();
    const heard: string[] = [];
    silent.on('data', (bytes) => heard.push(String(bytes)));
    server.tell({ event: 'STOP' });
    await Promise.all([one.event('STOP'), other.event('STOP')]);
    expect(Math.abs((await one.eventMs('STOP')) - Date.now())).toBeLessThan(10_000);
    await Promise.all([server.close(), once(silent, 'close')]);
    expect(heard.join('')).toMatch(/^\{"QMP":.*\r\n$/);
  });

  test('more than there is room for: one that has not negotiated gives way, else the newcomer', async () => {
    const reasons: string[] = [];
    await listen(undefined, { onClosed: (reason) => reasons.push(reason) });
    const idler = await connected();
    const clients = await Promise.all(Array.from({ length: 31 }, () => client()));
    const another = await client();
    await once(idler.resume(), 'close');
    expect(reasons).toEqual(['it has not negotiated, and others want to']);
    const refused = await connected();
    await once(refused.resume(), 'close');
    expect(reasons.at(-1)).toBe('there are 32 clients already');
    for (const each of [...clients, another]) await each.execute('query-status');
  });
});

describe.each(['garbage', 'requests', 'endless'])('clients that flood it with %s', (how) => {
  test('are kept at bay: another is answered, and most of this thread’s time is its own', async () => {
    await listen(undefined, { limits: { unreadBytes: 1e6, unreadMs: 1e6 } });
    const good = await client();
    const flood = spawn(process.execPath, [inCheckout('testing/qmp-flood.mjs'), path, how, '20']);
    children.push(flood);
    await once(flood.stdout, 'data');
    const before = performance.eventLoopUtilization();
    const heap = process.memoryUsage();
    let longest = 0;
    for (let asked = 0; asked < 4; asked += 1) {
      const began = performance.now();
      await good.execute('query-status');
      longest = Math.max(longest, performance.now() - began);
    }
    const { utilization } = performance.eventLoopUtilization(before);
    const after = process.memoryUsage();
    expect(utilization).toBeLessThan(0.7);
    expect(longest).toBeLessThan(10_000);
    expect(after.rss - heap.rss).toBeLessThan(200e6);
  });
});

test('its end tells every client, and does not wait for one that does not read', async () => {
  const server = await listen();
  const good = await client();
  await connected(); // which is never read from
  await server.close();
  await expect(good.execute('query-status')).rejects.toThrow("the monitor's connection was closed");
});
