/** One client's connection: what is cut, half closed, never read, or no QMP at all. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ConnectionLimits, connectionLimits, QmpConnection } from '#lib/qmp/connection.js';
import { happened } from '#lib/qmp/messages.js';
import { command, QmpSession } from '#lib/qmp/session.js';
import { Turns } from '#lib/qmp/turns.js';

const long = 'x'.repeat(10_000);
let answerHanging: () => void = () => {};
const commands = new Map([
  ['echo', command({ text: { type: 'string' } }, ({ text }) => text)],
  ['long', command({}, () => long)],
  [
    'hang',
    command(
      {},
      () =>
        new Promise<string>((resolve) => {
          answerHanging = () => resolve('at last');
        }),
    ),
  ],
]);

let folder: string;
let server: Server;
let client: Socket;
let connection: QmpConnection;

async function open(limits: ConnectionLimits = connectionLimits): Promise<void> {
  server = createServer({ allowHalfOpen: true }).listen(join(folder, 'qmp'));
  await once(server, 'listening');
  client = connect({ path: join(folder, 'qmp'), allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [Socket];
  connection = new QmpConnection(accepted, new QmpSession(commands), new Turns(), 'hello\r\n', limits);
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => {
  client.destroy();
  server.close();
  rmSync(folder, { recursive: true });
});

/** All that the client is told until the connection's end, but for the greeting. */
async function heard(): Promise<unknown[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of client) chunks.push(chunk as Buffer);
  const [hello, ...lines] = Buffer.concat(chunks).toString().trimEnd().split('\r\n');
  expect(hello).toBe('hello');
  return lines.map((line) => JSON.parse(line));
}

const negotiate = '{"execute":"qmp_capabilities"}';
const echo = (text: string) => JSON.stringify({ execute: 'echo', arguments: { text }, id: text });

test('requests that come byte by byte are answered, also after the client has closed its half', async () => {
  await open();
  for (const byte of Buffer.from(negotiate + echo('é') + echo('b'))) client.write(Buffer.of(byte));
  client.end();
  expect(await heard()).toEqual([{ return: {} }, { return: 'é', id: 'é' }, { return: 'b', id: 'b' }]);
  expect(await connection.closed).toBeUndefined();
});

test('a client that just goes closes it without a reason', async () => {
  await open();
  client.write(`${negotiate}{"execute":`);
  client.destroy();
  expect(await connection.closed).toBeUndefined();
});

describe('events', () => {
  const event = happened({ event: 'STOP' }, 0);

  test('are told once it has negotiated', async () => {
    await open();
    connection.tell(event);
    client.write(negotiate);
    while (!connection.isNegotiated) await new Promise((resolve) => setImmediate(resolve));
    connection.tell(event);
    client.end();
    const told = JSON.stringify(await heard());
    expect(told.match(/STOP/g)).toHaveLength(1);
  });
});

describe('a client that does not read', () => {
  test('is not read from while answers wait for it, and is closed in the end', async () => {
    await open({ unreadBytes: 1e9, unreadMs: 100 });
    client.write(negotiate);
    client.write('{"execute":"long"}'.repeat(2000)); // 20 MB of answers
    expect(await connection.closed).toBe('it does not read its answers');
  });

  test('is closed when more events wait than are kept', async () => {
    await open({ unreadBytes: 100_000, unreadMs: 1e6 });
    client.write(negotiate);
    while (!connection.isNegotiated) await new Promise((resolve) => setImmediate(resolve));
    for (let sent = 0; sent < 1e7; sent += long.length) connection.tell(long);
    expect(await connection.closed).toBe('it does not read what it is told');
  });

  test('gets all answers when it reads at last', async () => {
    await open();
    client.end(negotiate + '{"execute":"long"}'.repeat(500));
    expect(await heard()).toHaveLength(501);
  });
});

test('a request of a browser is not even looked at', async () => {
  await open();
  client.write(`POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n${negotiate}${echo('a')}`);
  expect(await connection.closed).toBe('it speaks HTTP');
  expect(connection.isNegotiated).toBe(false);
});

describe('at its end', () => {
  test('the client is told what it asked last', async () => {
    await open();
    client.write(`${negotiate}{"execute":"hang"}`);
    const all = heard();
    while (!connection.isNegotiated) await new Promise((resolve) => setImmediate(resolve));
    const ended = connection.end();
    answerHanging();
    client.end();
    await ended;
    expect(await all).toEqual([{ return: {} }, { return: 'at last' }]);
  });

  test('one that does not close is closed', async () => {
    await open();
    await connection.end();
    expect(await connection.closed).toBe('it has not read the last it was told');
  });
});
