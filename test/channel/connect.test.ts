/** Making connections over real sockets: each way it can fail, and what happens to a socket's file. */
import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { accept, bind, connect, type Listener } from '#lib/channel/connect.js';
import { native, type SocketHandle } from '#lib/native.js';
import { Kicked } from '#lib/threads/kicked.js';
import { handleLeaks, onLibThread } from '../../testing/lib-thread.ts';
import { isPolling, until } from '../../testing/native-thread.ts';

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

let files = 0;
const freshPath = (): string => join(folder, `${files++}.sock`);

/** Leaves a socket's file behind, as a process that was killed does. */
async function leaveSocketFile(path: string): Promise<void> {
  native().socketClose(native().socketListen({ family: 'unix', path }, 1).handle);
  expect(lstatSync(path).isSocket()).toBe(true);
}

/** Connects, and says hello through the connection: both ends are real. */
async function greet(listener: Listener): Promise<void> {
  const n = native();
  const kick = n.eventfdCreate();
  const client = await connect(listener.uri);
  const server = accept(listener.socket, kick);
  n.socketSend(client, kick, Uint8Array.of(42), 0, 1);
  const received = new Uint8Array(1);
  const count = n.socketReceive(server, kick, received, 0, 1);
  n.socketClose(client);
  n.socketClose(server);
  n.eventfdClose(kick);
  expect({ count, received: received[0] }).toEqual({ count: 1, received: 42 });
}

describe('unix', () => {
  test('connects to who listens; the file goes when it closes, and closing again is harmless', async () => {
    const leaks = handleLeaks();
    const path = freshPath();
    const listener = await bind(`unix:${path}`);
    expect(listener.uri).toBe(`unix:${path}`);
    await greet(listener);
    listener.close();
    expect(existsSync(path)).toBe(false);
    listener.close();
    expect(leaks()).toEqual({});
  });

  test('nobody has made the path: CONNECT_REFUSED', async () => {
    await expect(connect(`unix:${freshPath()}`)).rejects.toMatchObject({
      code: 'CONNECT_REFUSED',
      message: expect.stringContaining('no such socket'),
    });
  });

  test('nobody listens on the file: CONNECT_REFUSED', async () => {
    const path = freshPath();
    await leaveSocketFile(path);
    await expect(connect(`unix:${path}`)).rejects.toMatchObject({ code: 'CONNECT_REFUSED' });
  });

  test('a file left by a killed process is replaced', async () => {
    const path = freshPath();
    await leaveSocketFile(path);
    const listener = await bind(`unix:${path}`);
    await greet(listener);
    listener.close();
  });

  test('a socket that somebody listens on is ADDRESS_IN_USE, and goes on undisturbed', async () => {
    const leaks = handleLeaks();
    const path = freshPath();
    const listener = await bind(`unix:${path}`);
    await expect(bind(`unix:${path}`)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    // Whoever waits there for its one source must not get the second listener's question instead.
    await greet(listener);
    listener.close();
    expect(leaks()).toEqual({});
  });

  test('a file that is no socket is ADDRESS_IN_USE, and stays', async () => {
    const path = freshPath();
    writeFileSync(path, 'precious');
    await expect(bind(`unix:${path}`)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  test('a folder that does not exist is LISTEN_FAILED', async () => {
    await expect(bind(`unix:${join(folder, 'no', 'such', 'm.sock')}`)).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('folder does not exist'),
    });
  });
});

describe('tcp', () => {
  test('port 0 gets a free port, which the URI names', async () => {
    const leaks = handleLeaks();
    const listener = await bind('tcp:127.0.0.1:0');
    expect(listener.uri).toMatch(/^tcp:127\.0\.0\.1:[1-9]\d*$/);
    await greet(listener);
    listener.close();
    expect(leaks()).toEqual({});
  });

  test('a host name is looked up', async () => {
    const listener = await bind('tcp:localhost:0');
    await greet(listener);
    listener.close();
  });

  test('nobody listens: CONNECT_REFUSED', async () => {
    const listener = await bind('tcp:127.0.0.1:0');
    listener.close();
    await expect(connect(listener.uri)).rejects.toMatchObject({
      code: 'CONNECT_REFUSED',
      message: expect.stringContaining(listener.uri),
    });
  });

  test('a port that is taken is ADDRESS_IN_USE', async () => {
    const listener = await bind('tcp:127.0.0.1:0');
    await expect(bind(listener.uri)).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
    await greet(listener);
    listener.close();
  });

  test('an address of another host is LISTEN_FAILED', async () => {
    await expect(bind('tcp:192.0.2.1:0')).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
      message: expect.stringContaining('no such address'),
    });
  });

  test('a name that cannot exist is CONNECT_FAILED', async () => {
    await expect(connect('tcp:name.invalid:1')).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
  });
});

test('an answer that does not come is TIMEOUT', async () => {
  const asked: number[] = [];
  const spy = vi.spyOn(native(), 'socketConnect').mockImplementation((_address, timeoutMs) => {
    asked.push(timeoutMs);
    return Promise.reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }));
  });
  await expect(connect('tcp:127.0.0.1:1', 50)).rejects.toMatchObject({ code: 'TIMEOUT' });
  spy.mockRestore();
  expect(asked).toEqual([50]);
});

test.each([
  ['connect', connect],
  ['bind', bind],
])('%s refuses what is no URI', async (_name, make) => {
  await expect(make('nonsense')).rejects.toMatchObject({ code: 'BAD_URI' });
});

test('a thread that waits for a connection is kicked out of it', async () => {
  const listener = await bind(`unix:${freshPath()}`);
  const kick = native().eventfdCreate();
  const thread = onLibThread(
    'test/accept',
    { connect: '#lib/channel/connect.js' },
    { listener: listener.socket as SocketHandle, kick },
    (lib: { connect: typeof import('#lib/channel/connect.js') }, data) => {
      try {
        return `accepted ${lib.connect.accept(data.listener, data.kick)}`;
      } catch (error) {
        return (error as Error).name;
      }
    },
  );
  await until('the thread waits', () => isPolling('test/accept'));
  native().eventfdSignal(kick);
  expect(await thread.result).toBe(new Kicked().name);
  native().eventfdClose(kick);
  listener.close();
});
