/** A client of server-sent events: one that reads has all of them, one that does not has none kept for it. */
import { once } from 'node:events';
import { createServer, get, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { EventClient } from '#lib/http/event-client.js';

async function connected(unreadMs?: number) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const requested = once(server, 'request');
  const request = get({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  request.on('error', () => {});
  const responded = once(request, 'response');
  const [, response] = await requested;
  const client = new EventClient(response, unreadMs);
  const [message] = (await responded) as [IncomingMessage];
  message.on('error', () => {});
  const close = async () => {
    request.destroy();
    await client.closed;
    server.close();
  };
  return { client, message, [Symbol.asyncDispose]: close };
}

test('what is sent comes as events', async () => {
  await using connection = await connected();
  const { client, message } = connection;
  expect(message.headers['content-type']).toBe('text/event-stream; charset=utf-8');
  expect(client.send('look', '{"a":"ü"}')).toBe(true);
  const [bytes] = await once(message, 'data');
  expect(String(bytes)).toBe('event: look\ndata: {"a":"ü"}\n\n');
  client.end();
  await client.closed;
  expect(client.isReady).toBe(false);
  expect(client.send('look', '{}')).toBe(false);
});

test('one that does not read misses what comes, and is closed', async () => {
  await using connection = await connected(50);
  const { client } = connection;
  const text = 'x'.repeat(16 * 1024 * 1024); // more than the kernel takes
  expect(client.send('look', text)).toBe(true);
  expect(client.isReady).toBe(false);
  expect(client.send('look', text)).toBe(false);
  await client.closed;
});
