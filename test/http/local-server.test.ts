/** An HTTP server for this host's own user: what it answers, whom it does not, and clients that mean ill. */
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { EventClient } from '#lib/http/event-client.js';
import { LocalServer, type LocalServerOptions } from '#lib/http/local-server.js';

let folder: string;
let path: string;
let sockets: Socket[];
let servers: LocalServer[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  path = join(folder, 'http');
  sockets = [];
  servers = [];
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await Promise.all(servers.map((server) => server.close()));
  rmSync(folder, { recursive: true });
});

const routes: LocalServerOptions['routes'] = {
  '/': () => ({ type: 'text/html; charset=utf-8', body: '<p>page' }),
  '/query': ({ query, accept }) => ({ type: 'text/plain', body: `${query.get('a')} ${accept}` }),
  '/late': async () => ({ status: 203, type: 'text/plain', body: new Uint8Array([65]) }),
  '/broken': () => {
    throw new Error('secret');
  },
};

async function listen(options: Partial<LocalServerOptions> = {}, uri = `unix:${path}`): Promise<LocalServer> {
  const server = await LocalServer.listen(uri, { routes, shows: 'the figures', ...options });
  servers.push(server);
  return server;
}

async function asked(target: string, options: RequestOptions = {}) {
  const headers = { host: 'localhost', ...options.headers };
  const request = httpRequest({ socketPath: path, path: target, agent: false, ...options, headers }).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.setEncoding('utf8');
  let body = '';
  for await (const text of response) body += text;
  return { status: response.statusCode, headers: response.headers, body };
}

async function connected(): Promise<Socket> {
  const socket = connect(path);
  socket.on('error', () => {});
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** What comes of sending just that, to the end of the connection. */
async function exchanged(text: string): Promise<string> {
  const socket = await connected();
  let heard = '';
  socket.on('data', (bytes) => {
    heard += bytes;
  });
  socket.write(text);
  await once(socket, 'close');
  return heard;
}

describe('what it answers', () => {
  test('routes by path, with headers that have a browser keep to itself what it gets', async () => {
    const server = await listen();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect([server.uri, server.url]).toEqual([`unix:${path}`, `unix:${path}`]);
    const { status, headers, body } = await asked('/');
    expect([status, body]).toEqual([200, '<p>page']);
    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': expect.stringContaining("default-src 'none'"),
    });
    expect(headers).not.toHaveProperty('access-control-allow-origin');
    expect((await asked('/query?a=b%20c', { headers: { accept: 'x/y' } })).body).toBe('b c x/y');
    expect(await asked('/late')).toMatchObject({ status: 203, body: 'A' });
    expect(await asked('/', { method: 'HEAD' })).toMatchObject({ status: 200, body: '' });
  });

  test('at a port of loopback', async () => {
    const { url } = await listen({}, 'tcp:127.0.0.1:0');
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    expect(await (await fetch(url)).text()).toBe('<p>page');
  });

  test('what a route throws is not told to the client', async () => {
    const errors: unknown[] = [];
    await listen({ onError: (error) => errors.push(error) });
    const { status, body } = await asked('/broken');
    expect([status, body]).toEqual([500, 'this failed at the server\n']);
    expect(errors).toEqual([new Error('secret')]);
  });

  test('events, as long as both are there', async () => {
    let client: EventClient | undefined;
    const server = await listen({
      events: {
        '/events': (come) => {
          client = come;
          come.send('hello', '1');
        },
      },
    });
    const request = httpRequest({ socketPath: path, path: '/events', headers: { host: 'localhost' } }).end();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    expect(String((await once(response, 'data'))[0])).toBe('event: hello\ndata: 1\n\n');
    await Promise.all([server.close(), once(response.resume(), 'end'), client?.closed]);
  });
});

describe('what it refuses', () => {
  test.each<[string, RequestOptions, number]>([
    ['/none', {}, 404],
    ['/__proto__', {}, 404],
    ['//', {}, 404],
    ['http://[', {}, 404],
    ['/', { headers: { host: 'evil.example' } }, 421],
    ['/', { headers: { origin: 'http://evil.example' } }, 403],
    ['/', { headers: { 'sec-fetch-site': 'cross-site' } }, 403],
    ['/', { method: 'POST' }, 405],
    ['/', { headers: { 'content-length': '5' } }, 413],
  ])('%s %j: %i', async (target, options, status) => {
    await listen();
    const answer = await asked(target, options);
    expect(answer.status).toBe(status);
    expect(answer.headers.connection).toBe('close');
  });

  test('garbage, and heads that are too long, get nothing', async () => {
    await listen();
    expect(await exchanged('\0\x01nonsense\r\n\r\n')).toBe('');
    expect(await exchanged(`GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(9000)}\r\n\r\n`)).toBe('');
    expect((await asked('/')).status).toBe(200);
  });

  test('a request that is sent before the last was answered, which a client would not learn of', async () => {
    await listen();
    const socket = await connected();
    socket.resume().write('HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(2));
    await once(socket, 'close');
  });

  test('a request more than there may be a second, and answers again later', async () => {
    await listen();
    const socket = await connected();
    let heard = '';
    const request = 'HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n';
    socket.on('data', (bytes) => {
      heard += bytes;
      if (!heard.includes(' 429 ')) socket.write(request);
    });
    socket.write(request);
    await once(socket, 'close');
    expect(heard).toContain(' 429 ');
    await expect.poll(async () => (await asked('/')).status, { timeout: 20_000 }).toBe(200);
  });
});

test('many that connect and say nothing give way to one that asks', async () => {
  await listen();
  for (let count = 0; count < 1000; count += 1) await connected();
  expect((await asked('/')).status).toBe(200);
});
