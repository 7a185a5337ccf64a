/** `postcopy relay` as a user runs it: output, exit codes, Ctrl-C, and errors of one sentence. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { capture } from '../../testing/captures.ts';
import { readRecording } from '../../testing/recordings.ts';
import { cutInto, Destination, type Peer, source } from '../../testing/relay-peers.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const stream = capture('a2-precopy-return-path');

let folder: string;
let destination: Destination;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  destination = await Destination.at(`unix:${folder}/out`);
});
afterEach(() => {
  destination.close();
  rmSync(folder, { recursive: true });
});

function run(...args: string[]) {
  return execa(process.execPath, [main, 'relay', ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });
}

/** A relay between this test's two sockets, once it listens. */
async function relay(...args: string[]) {
  const running = run(`unix:${folder}/in`, `unix:${folder}/out`, ...args);
  const lines = createInterface({ input: running.stderr });
  for await (const line of lines) if (line.startsWith('listening at ')) break;
  // What comes later is in the result; it must be read all the same.
  running.stderr.resume();
  return { running };
}

async function joined(): Promise<[Peer, Peer]> {
  const near = await source(`unix:${folder}/in`);
  return [near, await destination.peer()];
}

/** A whole recorded migration passes. */
async function migrateThrough(): Promise<Peer> {
  const [near, far] = await joined();
  await Promise.all([
    near.send(cutInto(stream.fromSource(0), [50_000]), true),
    far.ended.then(() => far.send([stream.fromDestination(0)], true)),
    near.ended,
  ]);
  return far;
}

describe('a migration that passes', () => {
  test('ends the relay: a summary on stdout, what happened on stderr, exit code 0', async () => {
    const { running } = await relay();
    const far = await migrateThrough();
    const { exitCode, stdout, stderr } = await running;
    expect(exitCode, stderr).toBe(0);
    expect(Buffer.from(far.received).equals(Buffer.from(stream.fromSource(0)))).toBe(true);
    expect(stdout).toMatch(/^connection 0 {2}closed {4}4\.1 MiB to the destination, 16 B back\nin all /);
    expect(stderr).toContain('connection 0: open\n');
    expect(stderr).toContain('connection 0: closed, 4.1 MiB to the destination, 16 B back');
  });

  test('--record and --json', async () => {
    const { running } = await relay('--record', `${folder}/r/`, '--json', '--rate', '400M/s', '--delay', '2ms');
    await migrateThrough();
    const { exitCode, stdout } = await running;
    expect(exitCode).toBe(0);
    const bytes = stream.fromSource(0);
    expect(JSON.parse(stdout.trim().split('\n').at(-1) as string)).toEqual({
      connections: [{ connection: 0, state: 'closed', s2d: bytes.length, d2s: 16 }],
      s2d: bytes.length,
      d2s: 16,
      faultsLeft: [],
      seconds: expect.any(Number),
      recorded: `${folder}/r/`,
    });
    expect(readFileSync(`${folder}/r/conn0.s2d.bin`).equals(bytes)).toBe(true);
    expect(readFileSync(`${folder}/r/conn0.d2s.bin`).equals(stream.fromDestination(0))).toBe(true);
  });

  test('--decode says what passed', async () => {
    const { running } = await relay('--decode');
    await migrateThrough();
    const { stdout } = await running;
    expect(stdout).toMatch(/^ +0\.\d{3} {2}0 s2d +0x0 {2}HEADER version 3$/im);
    expect(stdout).toMatch(/ 0 s2d .*OPEN_RETURN_PATH$/m);
    expect(stdout).toMatch(/ 0 d2s +0x0 {2}PONG 1$/m);
    expect(stdout).not.toContain('not understood');
  });
});

describe('faults', () => {
  test('a cut, and one that is never reached', async () => {
    const { running } = await relay('--cut-after', '1000', '--corrupt', '10:0x01', '--stall-after', '1M');
    const [near, far] = await joined();
    await near.send([new Uint8Array(5000)]);
    expect(await far.ended).toBe('end');
    far.socket.end();
    near.socket.destroy();
    const { exitCode, stdout, stderr } = await running;
    expect(exitCode).toBe(0);
    expect(far.received).toEqual(new Uint8Array(1000).fill(1, 10, 11));
    expect(stderr).toContain('connection 0: cut after 1000 B of s2d on connection 0\n');
    expect(stderr).toContain('this did not happen: stall after 1.0 MiB (1048576 bytes) of s2d on connection 0');
    expect(stdout).toMatch(/^connection 0 {2}cut /);
  });

  test('--keep: the connection of a recovery passes; Ctrl-C ends it with 130, and the recording is whole', async () => {
    const { running } = await relay('--keep', '--cut-after', '100', '--record', `${folder}/r/`, '--json');
    const [near, far] = await joined();
    await near.send([new Uint8Array(200)]);
    await far.ended;
    far.socket.end();
    near.socket.destroy();
    const [again, farAgain] = await joined();
    const bytes = stream.fromSource(0);
    await again.send([bytes.subarray(0, 300_000)]);
    await farAgain.has(300_000);
    running.kill('SIGINT');
    const { exitCode, stdout } = await running;
    expect(exitCode).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ s2d: 300_100, connections: [{ state: 'cut' }, { s2d: 300_000 }] });
    const recording = readRecording(`${folder}/r/`);
    expect(Buffer.from(recording.bytes(1, 's2d')).equals(bytes.subarray(0, 300_000))).toBe(true);
    expect(recording.pieces(1, 's2d').reduce((sum, { length }) => sum + length, 0)).toBe(300_000);
    again.socket.destroy();
    farAgain.socket.destroy();
  });
});

describe('errors are one sentence', () => {
  const expectOneSentence = (stderr: string) => {
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stderr.split('\n').filter((line) => /^(postcopy|error):/.test(line))).toHaveLength(1);
  };

  test.each([
    ['a bad URI', ['nowhere', 'tcp:127.0.0.1:1'], /bad migration URI "nowhere"/],
    ['an address in use', ['OUT', 'tcp:127.0.0.1:1'], /the address is taken/],
    ['no place to record', ['IN', 'OUT', '--record', '/dev/null/x/'], /cannot record to/],
  ])('%s', async (_name, args, expected) => {
    const at = (arg: string) => arg.replace(/^OUT$/, `unix:${folder}/out`).replace(/^IN$/, `unix:${folder}/in`);
    const { exitCode, stderr } = await run(...args.map(at));
    expect(exitCode).toBe(1);
    expectOneSentence(stderr);
    expect(stderr).toMatch(expected);
  });

  test.each([
    ['--rate', 'fast'],
    ['--cut-after', '-5'],
    ['--corrupt', '5:0'],
    ['--cut-how', 'gently'],
    ['--delay', 'long'],
  ])('%s %s: exit code 2', async (option, value) => {
    const { exitCode, stderr } = await run(`unix:${folder}/in`, `unix:${folder}/out`, `${option}=${value}`);
    expect(exitCode).toBe(2);
    expectOneSentence(stderr);
  });

  test('nobody at the destination: tried for as long as asked, then exit code 1', async () => {
    destination.close();
    const { running } = await relay('--connect-timeout', '150ms');
    const near = await source(`unix:${folder}/in`);
    await near.ended;
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(1);
    expectOneSentence(stderr);
    expect(stderr).toMatch(/connection 0: nobody at unix:.*\/out yet, trying again/);
    expect(stderr).toMatch(/cannot connect to unix:.*\/out: there is no such socket/);
  });
});

test('two at one address: the second is refused, the first goes on', async () => {
  const { running: first } = await relay();
  const { exitCode, stderr } = await run(`unix:${folder}/in`, `unix:${folder}/out`);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/the address is taken/);
  first.kill('SIGTERM');
  expect((await first).exitCode).toBe(130);
});
