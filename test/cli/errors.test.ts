/**
 * Every way in which a command can't be done as it is called, as a table: its exit code, and the line that says what
 * is wrong, where, and what to do.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { saveCaptured } from '../../testing/saved-machine.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
const isRoot = process.getuid?.() === 0;
let taken: Server;
let port: number;

beforeAll(async () => {
  mkdirSync(join(folder, 'full'));
  mkdirSync(join(folder, 'tiny'));
  writeFileSync(join(folder, 'full', 'file'), 'this is no machine');
  await saveCaptured(join(folder, 'machine'));
  taken = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  port = (taken.address() as { port: number }).port;
});
afterAll(() => {
  taken.close();
  rmSync(folder, { recursive: true });
});

/** With `PORT` and relative paths as of the test's folder. */
async function postcopy(line: string) {
  const args = line.replaceAll('PORT', String(port)).split(' ');
  const run = await execa(process.execPath, [main, ...args], {
    cwd: folder,
    reject: false,
    timeout: 60_000,
    env: { NO_COLOR: '1' },
  });
  const said = run.stderr.replaceAll(folder, 'DIR').replaceAll(String(port), 'PORT').split('\n');
  return { exitCode: run.exitCode, said };
}

const MACHINE = 'give a directory that "postcopy receive --save" made, as it made it';
const FIRST = 'start the destination first, and give both sides the same URI';
const URI = 'write unix:/path/to/socket or tcp:host:port';
const PLACE = 'check that the path or address exists on this host and may be bound';
const OTHER_ADDRESS = 'choose another address, or end the process that listens there';

/** The command line, the exit code, the last line but what is written after it. */
const table: readonly (readonly [line: string, exitCode: number, says: string])[] = [
  ['receive foo', 1, `bad migration URI "foo": the transport is none of unix, tcp: ${URI}`],
  ['receive tcp:127.0.0.1:99999', 1, `bad migration URI "tcp:127.0.0.1:99999": port 99999 is above 65535: ${URI}`],
  ['receive unix:none/m', 1, `cannot listen at unix:none/m: its folder does not exist: ${PLACE}`],
  ['receive tcp:127.0.0.1:PORT', 1, `cannot listen at tcp:127.0.0.1:PORT: the address is taken: ${OTHER_ADDRESS}`],
  ['receive tcp:192.0.2.1:4444', 1, `cannot listen at tcp:192.0.2.1:4444: this host has no such address: ${PLACE}`],
  ['receive unix:m --save full', 1, 'DIR/full is not empty: choose a directory that is new or empty'],
  ['receive unix:m --like full', 1, `full/manifest.json: is missing: ${MACHINE}`],
  ['receive unix:m --no-postcopy --lanes 2', 2, "option '--no-postcopy' cannot be used with option '--lanes <n>'"],
  [
    'receive unix:m --metrics 127.0.0.1:PORT',
    1,
    `cannot listen at tcp:127.0.0.1:PORT: the address is taken: ${OTHER_ADDRESS}`,
  ],
  [
    'receive unix:m --metrics x',
    2,
    "option '--metrics [where]' argument 'x' is invalid. " +
      '"x" is nowhere to listen: give a port, host:port, or unix:/path',
  ],
  ['send unix:none --from nowhere', 1, `nowhere/manifest.json: is missing: ${MACHINE}`],
  ['send unix:none --from machine', 1, `cannot connect to unix:none: there is no such socket: ${FIRST}`],
  ['send tcp:127.0.0.1:1 --from machine', 1, `cannot connect to tcp:127.0.0.1:1: nobody listens there: ${FIRST}`],
  ['send unix:m --from machine --lanes 2', 1, '--lanes without --postcopy: give --postcopy too, at both sides'],
  ['reconcile full machine --out new', 1, `full/manifest.json: is missing: ${MACHINE}`],
  ['reconcile machine machine --out full', 1, 'DIR/full is there already: choose a directory that is new'],
  ['inspect nowhere', 1, 'cannot read "nowhere" (ENOENT): give the path of a recorded stream'],
  ['inspect full', 1, 'cannot read "full" (EISDIR): give a file that can be read'],
  ['relay unix:none/a unix:b', 1, `cannot listen at unix:none/a: its folder does not exist: ${PLACE}`],
  ['relay tcp:127.0.0.1:PORT unix:b', 1, `cannot listen at tcp:127.0.0.1:PORT: the address is taken: ${OTHER_ADDRESS}`],
  [
    'relay unix:a unix:b --cut-after x',
    2,
    "option '--cut-after <size[@n]>' argument 'x' is invalid. \"x\" is no size: write it like 256M or 1G",
  ],
  [
    'demo --memory 900T',
    2,
    "option '--memory <size>' argument '900T' is invalid. \"900T\" is more than a guest can have: give at most 8T",
  ],
  [
    'demo --guest kvm --memory 64G',
    1,
    '', // by what this host has
  ],
  ['demo --blocks 70', 2, "option '--blocks <n>' argument '70' is invalid. Give a whole number from 1 to 64."],
  ['demo extra', 2, "too many arguments for 'demo'. Expected 0 arguments but got 1."],
  [
    'host --guest stress --memory 1M --qmp unix:none/q',
    1,
    `cannot listen at unix:none/q: its folder does not exist: ${PLACE}`,
  ],
  [
    'host --guest stress --memory 1M --qmp tcp:0.0.0.0:0',
    1,
    'tcp:0.0.0.0:0 is open to other hosts, and whoever connects has the guest: ' +
      'listen at unix:/path or tcp:127.0.0.1:port, or say that any host may connect (an option …-any-host)',
  ],
];

describe.concurrent('a command that cannot be done', () => {
  test.each(table.map((row) => [...row]))('%s', async (line, code, says) => {
    const { exitCode, said } = await postcopy(String(line));
    expect(exitCode).toBe(code);
    const told = said.filter((each) => each.startsWith('postcopy: '));
    expect(told).toEqual([expect.stringContaining(String(says))]);
    if (says !== '') expect(told).toEqual([`postcopy: ${says}`]);
    if (code === 2) expect(said.at(-1)).toBe(`(see "postcopy ${String(line).split(' ')[0]} --help")`);
  });
});

test.skipIf(!isRoot)('a disk that is full is told of by the machine that has no room there', async () => {
  const tiny = join(folder, 'tiny');
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', tiny]).status !== 0) return;
  try {
    const receive = execa(process.execPath, [main, 'receive', 'unix:m.sock', '--save', 'tiny/m', '--json'], {
      cwd: folder,
      reject: false,
      timeout: 60_000,
    });
    await new Promise<void>((resolve) => {
      receive.stderr.on('data', (text) => String(text).includes('listening') && resolve());
    });
    await postcopy('send unix:m.sock --from machine');
    const { exitCode, stdout } = await receive;
    expect(exitCode).toBe(1);
    const { status, error } = JSON.parse(stdout.split('\n').at(-1) ?? '');
    expect([status, error.code]).toEqual(['failed', 'SAVE_FAILED']);
    expect(error.message).toMatch(/has room for 65536$/);
    expect(error.hint).toMatch(/room/);
  } finally {
    spawnSync('umount', [tiny]);
  }
});
