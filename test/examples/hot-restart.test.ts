/** examples/hot-restart: its parts, a server that is restarted under its clients, and one with memory and load. */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa, type ResultPromise } from 'execa';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../testing/native-thread.ts';

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const { CommandReader } = await import(path('examples/hot-restart/command-reader.mjs'));
const { Full } = await import(path('examples/hot-restart/records.mjs'));
const { Table } = await import(path('examples/hot-restart/table.mjs'));

const encode = (words: readonly string[]) =>
  Buffer.from(`*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`, 'latin1');

describe('the command reader', () => {
  const word = fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), maxLength: 40 });
  const commands = fc.array(fc.array(word, { minLength: 1, maxLength: 4 }), { maxLength: 6 });

  test('reads the same commands however they are cut, also by a reader that takes over at the cut', () => {
    fc.assert(
      fc.property(commands, fc.array(fc.nat(), { maxLength: 5 }), fc.boolean(), (sent, cuts, takesOver) => {
        const bytes = Buffer.concat(sent.map(encode));
        const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
        const read: string[][] = [];
        let reader = new CommandReader();
        let start = 0;
        for (const end of ends) {
          read.push(...reader.read(bytes.subarray(start, end)));
          start = end;
          if (!takesOver) continue;
          const { rest } = reader;
          reader = new CommandReader();
          read.push(...reader.read(rest));
        }
        expect(read).toEqual(sent);
        expect(reader.rest).toHaveLength(0);
      }),
      { numRuns: 1000 },
    );
  });

  test('reads lines as people type them', () => {
    const reader = new CommandReader();
    expect(reader.read(Buffer.from('PING\r\n\r\nset a  1\r\nge'))).toEqual([['PING'], ['set', 'a', '1']]);
    expect(reader.read(Buffer.from('t a\n*1\r\n$4\r\nPI'))).toEqual([['get', 'a']]);
    expect(reader.read(Buffer.from('NG\r\n'))).toEqual([['PING']]);
  });

  test.each(['*1\r\n:5\r\n', '*1\r\n*1\r\n$1\r\na\r\n', '*1\r\n$1\r\na\r\n+OK\r\n'])('refuses %j', (bytes) => {
    expect(() => new CommandReader().read(Buffer.from(bytes))).toThrow();
  });

  test('refuses a command that never ends', () => {
    const reader = new CommandReader();
    const endless = () => {
      reader.read(Buffer.from('*1\r\n$999999999\r\n'));
      for (let at = 0; at < 40; at += 1) reader.read(Buffer.alloc(64 * 1024));
    };
    expect(endless).toThrow('a command of more than');
  });
});

describe('the table', () => {
  test('holds what a map holds, also when another goes on with its memory and state', () => {
    const key = fc.integer({ min: 0, max: 40 }).map((number) => `key:${number}`);
    const value = fc.integer({ min: 0, max: 3000 }).map((length) => 'ä'.repeat(length));
    const step = fc.oneof(
      fc.record({ do: fc.constant('set' as const), key, value }),
      fc.record({ do: fc.constant('delete' as const), key }),
      fc.record({ do: fc.constant('move' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const memory = new ArrayBuffer(2 ** 18);
        let table = new Table(memory);
        const model = new Map<string, string>();
        for (const step of steps) {
          if (step.do === 'move') table = new Table(memory, structuredClone(table.state));
          else if (step.do === 'delete') expect(table.delete(step.key)).toBe(model.delete(step.key));
          else {
            table.set(step.key, step.value);
            model.set(step.key, step.value);
          }
        }
        for (let number = 0; number <= 40; number += 1) {
          expect(table.get(`key:${number}`)).toBe(model.get(`key:${number}`));
        }
        expect(table.state.keys).toBe(model.size);
      }),
    );
  });

  test.each([1, 100, 5000])('is full some time with values of %i bytes, and then as it was', (length) => {
    const table = new Table(new ArrayBuffer(2 ** 16));
    const fill = () => {
      for (let key = 0; ; key += 1) table.set(`${key}`, 'x'.repeat(length));
    };
    expect(fill).toThrow(Full);
    const { keys } = table.state;
    expect(keys).toBeGreaterThan(0);
    expect(table.get(`${keys - 1}`)).toBe('x'.repeat(length));
    expect(table.get(`${keys}`)).toBeUndefined();
    table.set('0', 'y'.repeat(length)); // in its place
    expect(table.delete('1')).toBe(true);
    table.set('new', 'z'.repeat(length)); // in the other's
    expect(table.get('new')).toBe('z'.repeat(length));
  });
});

let folder: string;
let server: ResultPromise | undefined;
const lines: string[] = [];
let onLine = () => {};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});

afterEach(async () => {
  if (server !== undefined) process.kill(Number(readFileSync(join(folder, 'pid'), 'utf8')), 'SIGTERM');
  await server?.catch(() => {});
  server = undefined;
  rmSync(folder, { recursive: true });
});

/** Resolved with the match when a server has said so. */
async function said(words: RegExp): Promise<RegExpExecArray> {
  for (;;) {
    const matches = lines.map((line) => words.exec(line)).filter((match) => match !== null);
    if (matches.length > 0) return matches[0];
    await new Promise<void>((resolve) => {
      onLine = resolve;
    });
  }
}

/** Starts one at a free port, which it resolves with. What it and its successors say goes to `lines`. */
async function startServer(options: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<number> {
  lines.length = 0;
  const args = ['--port', '0', '--memory', '64', '--pidfile', join(folder, 'pid'), ...options];
  server = execa(process.execPath, [path('examples/hot-restart/server.mjs'), ...args], { env });
  server.catch(() => {});
  createInterface({ input: server.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    lines.push(line);
    onLine();
  });
  return Number((await said(/serves at port (\d+)/))[1]);
}

/** Restarts it; resolved with the successor's process id once that has all. */
async function restart(): Promise<number> {
  const old = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  process.kill(old, 'SIGUSR2');
  await said(new RegExp(`${old}: ends`));
  const successor = Number(readFileSync(join(folder, 'pid'), 'utf8'));
  expect(successor).not.toBe(old);
  await said(new RegExp(`${successor}: has all`));
  await until('the old process has gone', () => !isAlive(old));
  return successor;
}

function isAlive(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}

async function reply(socket: Socket, length: number): Promise<string> {
  let text = '';
  while (text.length < length) text += (await once(socket, 'data'))[0];
  return text;
}

async function connect(port: number): Promise<Socket> {
  const socket = createConnection({ port, host: '127.0.0.1' });
  await once(socket, 'connect');
  return socket;
}

const cli = async (port: number, ...words: string[]) =>
  (await execa('redis-cli', ['-p', `${port}`, ...words])).stdout.trim();

describe('the server', () => {
  test('answers redis-cli before and after each of three restarts in a row', async () => {
    const port = await startServer();
    expect(await cli(port, 'MSET', 'a', '1', 'b', 'two words')).toBe('OK');
    for (let count = 2; count < 5; count += 1) {
      await restart();
      expect(await cli(port, 'INCR', 'a')).toBe(`${count}`);
    }
    expect(await cli(port, 'GET', 'b')).toBe('two words');
    expect(await cli(port, 'DBSIZE')).toBe('2');
    expect(await cli(port, 'DEL', 'a', 'b', 'c')).toBe('2');
    expect(await cli(port, 'MGET', 'a', 'b')).toBe('');
  });

  test('says what is wrong with a command, and when it is full', async () => {
    const port = await startServer(['--memory', '1']);
    expect(await cli(port, 'LPUSH', 'a', '1')).toBe("ERR unknown command 'LPUSH'");
    expect(await cli(port, 'GET')).toBe("ERR wrong number of arguments for 'get' command");
    await cli(port, 'SET', 'a', 'x'.repeat(600));
    expect(await cli(port, 'INCR', 'a')).toBe('ERR value is not an integer or out of range');
    await cli(port, 'SET', 'b', 'x'.repeat(100_000));
    const replies = await Promise.all(
      Array.from({ length: 12 }, (_, at) => cli(port, 'SET', `${at}`, 'x'.repeat(1e5))),
    );
    expect(replies.filter((text) => text.startsWith('OOM')).length).toBeGreaterThan(0);
    expect(await cli(port, 'GET', 'a')).toBe('x'.repeat(600));
  });

  test('carries a command that is half sent, and one that is sent by half a byte', async () => {
    const port = await startServer();
    const socket = await connect(port);
    const bytes = encode(['SET', 'half', 'x'.repeat(100_000)]);
    socket.write(bytes.subarray(0, 70_000));
    await restart();
    socket.write(bytes.subarray(70_000));
    expect(await reply(socket, 5)).toBe('+OK\r\n');
    socket.write('GE');
    await restart();
    socket.write('T none\r\n');
    expect(await reply(socket, 5)).toBe('$-1\r\n');
    socket.destroy();
  });

  test('keeps a client that does not read for long, and the others do not wait for it', async () => {
    const port = await startServer();
    const value = 'x'.repeat(500_000);
    expect(await cli(port, 'SET', 'long', value.slice(0, 100_000))).toBe('OK');
    const socket = await connect(port);
    const asked = 200;
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: asked }, () => encode(['GET', 'long']))));
    const old = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    process.kill(old, 'SIGUSR2');
    await said(new RegExp(`^(?!${old}:).*serves at port`));
    expect(await cli(port, 'EXISTS', 'long')).toBe('1');
    expect(lines.filter((line) => line.includes('ends'))).toEqual([]); // it stays for that client
    socket.resume();
    const each = `$100000\r\n${value.slice(0, 100_000)}\r\n`;
    expect((await reply(socket, asked * each.length)) === each.repeat(asked)).toBe(true);
    await said(/ends; .* 1 clients/);
    socket.destroy();
  });

  test('loses nothing of a client that sends and does not read', async () => {
    const port = await startServer();
    const value = 'x'.repeat(100_000);
    expect(await cli(port, 'SET', 'long', value)).toBe('OK');
    const socket = await connect(port);
    socket.pause();
    // So much that neither side's buffers hold it: it goes on over the restart.
    const pairs = 200;
    for (let at = 0; at < pairs; at += 1) {
      socket.write(encode(['SET', `key:${at}`, `${at}`.padEnd(10_000, '-')]));
      socket.write(encode(['GET', 'long']));
    }
    const old = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    process.kill(old, 'SIGUSR2');
    await said(new RegExp(`^(?!${old}:).*serves at port`));
    socket.resume();
    const each = `+OK\r\n$100000\r\n${value}\r\n`;
    expect((await reply(socket, pairs * each.length)) === each.repeat(pairs)).toBe(true);
    await said(/ends; .* 1 clients/);
    socket.destroy();
    expect(await cli(port, 'GET', `key:${pairs - 1}`)).toBe(`${pairs - 1}`.padEnd(10_000, '-'));
  });

  test('serves on where its successor has a program of another version', async () => {
    const program = join(folder, 'store.mjs');
    const store = JSON.stringify(path('examples/hot-restart/store.mjs'));
    writeFileSync(program, `export { default } from ${store};`);
    const port = await startServer(['--program', program]);
    await cli(port, 'SET', 'a', '1');
    writeFileSync(program, `import store from ${store}; export default { ...store, version: 2 };`);
    process.kill(Number(readFileSync(join(folder, 'pid'), 'utf8')), 'SIGUSR2');
    await said(/not restarted, serving on: .*version 1 of "hot-restart", and here is version 2/);
    expect(await cli(port, 'GET', 'a')).toBe('1');
    writeFileSync(program, `export { default } from ${store};`);
    await restart();
    expect(await cli(port, 'GET', 'a')).toBe('1');
  });

  test('ends, and answers nothing, where the old process goes before all of the memory has come', async () => {
    const port = await startServer(['--passes', '0', '--memory', '512', '--rate', '1']);
    await cli(port, 'SET', 'a', '1');
    const old = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    process.kill(old, 'SIGUSR2');
    await said(new RegExp(`^(?!${old}:).*serves at port`));
    const successor = Number(readFileSync(join(folder, 'pid'), 'utf8'));
    process.kill(old, 'SIGKILL');
    await said(new RegExp(`${successor}: ends, without all of the memory`));
    await until('the successor has gone', () => !isAlive(successor));
    server = undefined;
  });

  test('serves on where its successor does not start', async () => {
    const port = await startServer([], { TMPDIR: join(folder, 'missing') });
    await cli(port, 'SET', 'a', '1');
    process.kill(Number(readFileSync(join(folder, 'pid'), 'utf8')), 'SIGUSR2');
    await said(/not restarted, serving on: the successor ended with 1/);
    expect(await cli(port, 'GET', 'a')).toBe('1');
  });
});

/** Nobody has it now; that somebody takes it before it is used is unlikely. */
async function freePort(): Promise<string> {
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address() as AddressInfo;
  holder.close();
  await once(holder, 'close');
  return `${port}`;
}

test('1 GiB is restarted under load, and no client loses a write or its connection', {
  timeout: 180_000,
}, async () => {
  const port = await freePort();
  const run = execa(process.execPath, [
    path('examples/hot-restart/try.mjs'),
    ...['--memory', '1024', '--restarts', '1'],
    '--port',
    port,
    '--json',
  ]);
  let checking: ResultPromise<{ readonly stdin: 'pipe' }> | undefined;
  createInterface({ input: run.stderr }).on('line', (line) => {
    if (line === 'restarting …') {
      checking = execa('/usr/bin/python3', [path('testing/checking-client.py'), port], { stdin: 'pipe' });
      checking.catch(() => {}); // awaited below
    }
    if (line.startsWith('reading')) checking?.stdin.end();
  });
  const lastLine = (text: unknown) => JSON.parse(`${text}`.split('\n').at(-1) ?? '');
  const report = lastLine((await run).stdout);
  const python = lastLine((await checking)?.stdout);
  console.log('hot restart of 1 GiB:', report, 'python3-redis:', python);
  expect(report).toMatchObject({ lost: 0, brokenConnections: 0, refusedConnections: 0 });
  expect(report.acknowledgedWrites).toBeGreaterThan(65_536);
  expect(report.newConnections).toBeGreaterThan(0);
  expect(report.downtimeMs).toHaveLength(1);
  expect(report.redisBenchmark).toHaveLength(3);
  expect(python.lost).toBe(0);
  expect(python.writes).toBeGreaterThan(0);
  expect(python.connections).toBeGreaterThan(0);
});
