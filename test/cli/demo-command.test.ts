/**
 * The demo as a user runs it: exit codes, where output goes, the JSON contract, and that every failure is one sentence
 * with what to do, no stack trace, no hang.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { withHugepages } from '../../testing/hugepages.ts';
import { type TraceEventFile, traceEventBreaches } from '../../testing/trace-event-rules.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

function postcopy(...args: string[]) {
  return execa(process.execPath, [main, ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });
}

/** One line, naming the program; no stack trace. */
function expectOneSentence(stderr: string): void {
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(stderr.split('\n').filter((line) => line.startsWith('postcopy:'))).toHaveLength(1);
}

/** What the demo's source says once pages go. */
const ACTIVE = /source {7}active/;

/** A demo that runs, and has said so much by now on stderr. In an object, as a promise of it would be awaited too. */
async function demoThatSays(what: RegExp, ...args: readonly string[]) {
  const child = execa(process.execPath, [main, 'demo', ...args], {
    reject: false,
    env: { NO_COLOR: '1' },
    timeout: 60_000,
  });
  await new Promise<void>((resolve) => {
    child.stderr.on('data', (chunk: Buffer) => {
      if (what.test(chunk.toString())) resolve();
    });
  });
  return { child };
}

const sizes: [string, string, string[]][] = [
  ['64M', 'unix', []],
  ['64M', 'unix', ['--memory-kind', 'memfd', '--vcpus', '2']],
  ['64M', 'tcp', ['--precopy-passes', '0']],
  ['64M', 'unix', ['--guest', 'stress', '--blocks', '3', '--auto-converge']],
  ['1G', 'tcp', ['--guest', 'stress']],
];

test.each(sizes)('%s over %s %j: verified, with real faults', async (memory, transport, more) => {
  const { exitCode, stdout, stderr } = await postcopy(
    'demo',
    '--memory',
    memory,
    '--transport',
    transport,
    '--json',
    ...more,
  );
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout.trim().split('\n').at(-1) as string);
  const bytes = memory === '1G' ? 2 ** 30 : 64 * 2 ** 20;
  expect(report).toMatchObject({
    status: 'completed',
    verified: true,
    lostWrites: 0,
    guest: more.includes('stress') ? 'stress' : 'kvm',
    transport,
    memoryBytes: bytes,
  });
  expect(report).not.toHaveProperty('recoveries');
  expect(report.blocks).toBe(more.includes('--blocks') ? 3 : 1);
  expect(report.dirtyTracking).toBe(more.includes('--precopy-passes') ? 'none' : 'wp-async');
  expect(Object.keys(report.ram).sort()).toEqual(
    [
      'dirtySyncCount',
      'duplicate',
      'normal',
      'pageSize',
      'postcopyBytes',
      'postcopyRequests',
      'precopyBytes',
      'transferred',
    ].sort(),
  );
  expect(report.faults).toMatchObject({ count: expect.any(Number), p50Us: expect.any(Number) });
  expect(report.faults).toMatchObject({ p99Us: expect.any(Number), maxUs: expect.any(Number) });
  for (const time of ['setupTimeMs', 'downtimeMs', 'totalTimeMs']) expect(report[time]).toBeGreaterThan(0);
  expect(report.ram.normal + report.ram.duplicate).toBeGreaterThanOrEqual(bytes / 4096);
  expect(report.writes.source).toBeGreaterThan(0);
  expect(report.writes.destination).toBeGreaterThan(0);
  if (memory === '1G') expect(report.faults.count).toBeGreaterThan(100);
});

test('without --json a table on stdout and plain progress lines on stderr', async () => {
  const { exitCode, stdout, stderr } = await postcopy('demo', '--memory', '16M');
  expect(exitCode).toBe(0);
  expect(stdout).toContain('every page holds its last write: nothing lost');
  expect(stdout).toContain('real page faults');
  expect(stderr).toMatch(/^source {7}.*pages sent/m);
  expect(stderr).toMatch(/^destination {2}.*pages received/m);
  expect(stderr).not.toContain('\x1b[');
});

describe('--cut-every', () => {
  const slowly = ['--max-postcopy-bandwidth', '32M'];

  test.each([
    ['unix', ['--vcpus', '2']],
    ['unix', ['--postcopy-preempt', '--guest', 'stress']],
    ['tcp', ['--memory-kind', 'memfd', '--blocks', '3', '--precopy-passes', '0', '--memory', '16M']],
  ])('over %s %j: recovers each time, and nothing is lost', async (transport, more) => {
    const cut = ['--cut-every', '50ms', '--transport', transport];
    const { exitCode, stdout, stderr } = await postcopy(
      'demo',
      '--memory',
      '64M',
      '--json',
      ...cut,
      ...slowly,
      ...more,
    );
    expect(exitCode, stderr).toBe(0);
    const report = JSON.parse(stdout.trim().split('\n').at(-1) as string);
    expect(report).toMatchObject({ status: 'completed', verified: true, lostWrites: 0, transport });
    expect(report.recoveries.count).toBeGreaterThan(0);
    expect(report.recoveries.pausedMs).toBeGreaterThan(0);
    expect(stderr).toMatch(/recovered [\d,]+ times?, paused for .* in all$/m);
  });

  test('Ctrl-C ends it, paused or not', async () => {
    const args = ['--memory', '64M', '--cut-every', '10ms', '--max-postcopy-bandwidth', '1M'];
    const { child } = await demoThatSays(/recovered/, ...args);
    child.kill('SIGINT');
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(130);
    expectOneSentence(stderr);
  });

  test.each(['0', 'often'])('no time: %s', async (time) => {
    expect((await postcopy('demo', '--cut-every', time)).exitCode).toBe(2);
  });
});

test('Ctrl-C ends both processes', async () => {
  const { child } = await demoThatSays(ACTIVE, '--memory', '256M', '--max-bandwidth', '4M');
  const { stdout: children } = await execa('pgrep', ['-P', String(child.pid)]);
  expect(children.split('\n')).toHaveLength(2);
  child.kill('SIGINT');
  const { exitCode, stderr } = await child;
  expect(exitCode).toBe(130);
  expectOneSentence(stderr);
  for (const pid of children.split('\n')) expect(() => process.kill(Number(pid), 0)).toThrow();
});

describe('--trace', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
    path = join(folder, 'out.json');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const read = (): TraceEventFile => JSON.parse(readFileSync(path, 'utf8'));

  test('writes a file that Perfetto opens, and says so on stderr', async () => {
    const { exitCode, stdout, stderr } = await postcopy('demo', '--memory', '64M', '--trace', path, '--json');
    expect(exitCode, stderr).toBe(0);
    expect(JSON.parse(stdout.trim().split('\n').at(-1) as string).verified).toBe(true);
    expect(stderr).toMatch(/^[\d,]+ trace points in .*out\.json; open it at https:\/\/ui\.perfetto\.dev/m);
    expect(traceEventBreaches(read())).toEqual([]);
    expect(read().otherData).toMatchObject({ dropped: 0, incomplete: 0 });
    for (const name of ['postcopy start', 'migrate_handle_rp_req_pages', 'bytes to go', 'mig/src/main']) {
      expect(JSON.stringify(read())).toContain(name);
    }
  });

  test('so does an interrupted demo', async () => {
    const args = ['--memory', '256M', '--max-bandwidth', '4M/s', '--trace', path];
    const { child } = await demoThatSays(ACTIVE, ...args);
    child.kill('SIGINT');
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(130);
    expectOneSentence(stderr);
    expect(stderr).toContain('trace points in');
    expect(traceEventBreaches(read())).toEqual([]);
    expect(read().otherData).toMatchObject({ incomplete: 0 });
  });

  test('a file that can’t be written is said before anything runs', async () => {
    const { exitCode, stderr } = await postcopy('demo', '--trace', join(folder, 'no', 'out.json'));
    expect(exitCode).toBe(1);
    expectOneSentence(stderr);
    expect(stderr).not.toContain('filling');
  });
});

test('on a terminal: live lines, and Ctrl-C ends both processes', async () => {
  const command = `stty cols 150 rows 40; exec ${process.execPath} ${main} demo --memory 256M --max-bandwidth 4M`;
  const terminal = execa('script', ['-qec', command, '/dev/null'], { reject: false, timeout: 60_000, stdin: 'pipe' });
  await new Promise<void>((resolve) => {
    terminal.stdout.on('data', (chunk: Buffer) => {
      if (ACTIVE.test(chunk.toString())) resolve();
    });
  });
  terminal.stdin.write('\x03');
  const { exitCode, stdout } = await terminal;
  expect(exitCode).toBe(130);
  expect(stdout).toContain('interrupted: both processes have ended');
  expect(stdout).not.toMatch(/\n\s+at /);
});

describe('where /dev/kvm is not to be had', () => {
  const withoutKvm = (...args: string[]) => {
    const command = 'mount --bind /dev/null /dev/kvm && exec "$@"';
    return execa('unshare', ['--mount', 'sh', '-c', command, 'sh', process.execPath, main, 'demo', ...args], {
      reject: false,
      env: { NO_COLOR: '1' },
      timeout: 60_000,
    });
  };

  test('a KVM guest is refused in one sentence, with what to do', async () => {
    const { exitCode, stderr } = await withoutKvm('--guest', 'kvm');
    expect(exitCode).toBe(1);
    expectOneSentence(stderr);
    expect(stderr).toContain('--guest stress');
  });

  test('the stress guest moves, after a sentence why', async () => {
    const { exitCode, stdout, stderr } = await withoutKvm('--memory', '16M', '--json');
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/^the stress guest, as no KVM guest can run here: .*\/dev\/kvm/m);
    expect(JSON.parse(stdout.trim().split('\n').at(-1) as string)).toMatchObject({ guest: 'stress', verified: true });
  });
});

test.each([
  [['--memory', 'lots'], 'write it like 256M or 1G'],
  [['--memory', '0'], 'is no size'],
  [['--transport', 'carrier-pigeon'], 'unix, tcp'],
  [['--precopy-passes', '-1'], 'whole number'],
  [['--vcpus', '65'], 'whole number from 1 to 64'],
  [['--blocks', '65'], 'whole number from 1 to 64'],
  [['--max-bandwidth', 'fast'], 'write it like 100M/s, 100MiB/s or 1Gbit'],
  [['--downtime-limit', 'soon'], 'write it like 300ms or 1.5s'],
  [['--memory-kind', 'swiss-cheese'], 'anonymous, memfd, hugetlb'],
  [['--frobnicate'], 'unknown option'],
])('%j is a usage error', async (args, says) => {
  const { exitCode, stderr, stdout } = await postcopy('demo', ...args);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(says);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(stdout).toBe('');
});

test('hugepages, where they are reserved', async () => {
  // 32 a side, and some that either side tries the host with.
  const { exitCode, stdout, stderr } = await withHugepages(32 + 32 + 4, () =>
    postcopy('demo', '--memory', '64M', '--memory-kind', 'hugetlb', '--json'),
  );
  expect(exitCode, stderr).toBe(0);
  const report = JSON.parse(stdout.trim().split('\n').at(-1) as string);
  expect(report).toMatchObject({ verified: true, memoryKind: 'hugetlb', memoryBytes: 64 * 2 ** 20 });
  expect(report.faults.count).toBeGreaterThan(0);
});

test('more hugepages than are free: one sentence with the command that reserves them', async () => {
  const { exitCode, stderr } = await postcopy('demo', '--memory-kind', 'hugetlb', '--memory', '1T');
  expect(exitCode).toBe(1);
  expectOneSentence(stderr);
  expect(stderr).toMatch(/take 1048576 hugepages of 2\.0 MiB.*echo \d+ > \/sys\/kernel\/mm\/hugepages/);
});

test('more memory than there is: one sentence, not a crash', async () => {
  const { exitCode, stderr } = await postcopy('demo', '--memory', '4096T');
  expect(exitCode).toBe(1);
  expectOneSentence(stderr);
});
