/**
 * The command as a user runs it: exit codes, where output goes, the JSON contract, and that every
 * failure is one sentence with what to do, no stack trace, no hang.
 */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

function postcopy(...args: string[]) {
  return execa(process.execPath, [main, ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });
}

/** One line, naming the program; no stack trace. */
function expectOneSentence(stderr: string): void {
  expect(stderr).not.toMatch(/\n\s+at /);
  expect(stderr.split('\n').filter((line) => line.startsWith('postcopy:'))).toHaveLength(1);
}

describe('demo', () => {
  const sizes: [string, string, string[]][] = [
    ['64M', 'unix', []],
    ['64M', 'tcp', []],
    ['64M', 'unix', ['--memory-kind', 'memfd', '--vcpus', '2']],
    ['64M', 'tcp', ['--precopy-passes', '0']],
    ['1G', 'unix', []],
    ['1G', 'tcp', []],
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
      guest: 'stress',
      transport,
      memoryBytes: bytes,
    });
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
    expect(Object.keys(report.faults).sort()).toEqual(['count', 'maxUs', 'p50Us', 'p99Us']);
    for (const time of ['setupTimeMs', 'downtimeMs', 'totalTimeMs']) expect(report[time]).toBeGreaterThan(0);
    expect(report.ram.normal + report.ram.duplicate).toBeGreaterThanOrEqual(bytes / 4096);
    expect(report.writes.source).toBeGreaterThan(0);
    expect(report.writes.destination).toBeGreaterThan(0);
    if (memory === '1G') expect(report.faults.count).toBeGreaterThan(100);
  });

  test('without --json a table on stdout and plain progress lines on stderr', async () => {
    const { exitCode, stdout, stderr } = await postcopy('demo', '--memory', '64M');
    expect(exitCode).toBe(0);
    expect(stdout).toContain('every page holds its last write: nothing lost');
    expect(stdout).toContain('real page faults');
    expect(stderr).toMatch(/^source {7}.*pages sent/m);
    expect(stderr).toMatch(/^destination {2}.*pages received/m);
    expect(stderr).not.toContain('\x1b[');
  });

  test('Ctrl-C ends both processes', async () => {
    const child = execa(process.execPath, [main, 'demo', '--memory', '256M', '--max-bandwidth', '4M'], {
      reject: false,
      env: { NO_COLOR: '1' },
      timeout: 60_000,
    });
    await new Promise<void>((resolve) => {
      child.stderr.on('data', (chunk: Buffer) => {
        if (/source {7}active/.test(chunk.toString())) resolve();
      });
    });
    const { stdout: children } = await execa('pgrep', ['-P', String(child.pid)]);
    expect(children.split('\n')).toHaveLength(2);
    child.kill('SIGINT');
    const { exitCode, stderr } = await child;
    expect(exitCode).toBe(130);
    expectOneSentence(stderr);
    for (const pid of children.split('\n')) expect(() => process.kill(Number(pid), 0)).toThrow();
  });

  test('on a terminal: live lines, and Ctrl-C ends both processes', async () => {
    const command = `stty cols 150 rows 40; exec ${process.execPath} ${main} demo --memory 256M --max-bandwidth 4M`;
    const terminal = execa('script', ['-qec', command, '/dev/null'], { reject: false, timeout: 60_000, stdin: 'pipe' });
    await new Promise<void>((resolve) => {
      terminal.stdout.on('data', (chunk: Buffer) => {
        if (/source {7}active/.test(chunk.toString())) resolve();
      });
    });
    terminal.stdin.write('\x03');
    const { exitCode, stdout } = await terminal;
    expect(exitCode).toBe(130);
    expect(stdout).toContain('interrupted: both processes have ended');
    expect(stdout).not.toMatch(/\n\s+at /);
  });

  test('a KVM guest is not there yet: one sentence with what to do', async () => {
    const { exitCode, stderr } = await postcopy('demo', '--guest', 'kvm');
    expect(exitCode).toBe(1);
    expectOneSentence(stderr);
    expect(stderr).toContain('--guest stress');
  });

  test.each([
    [['--memory', 'lots'], 'write it like 256M or 1G'],
    [['--memory', '0'], 'is no size'],
    [['--transport', 'carrier-pigeon'], 'unix, tcp'],
    [['--precopy-passes', '-1'], 'whole number'],
    [['--vcpus', '65'], 'whole number from 1 to 64'],
    [['--frobnicate'], 'unknown option'],
  ])('%j is a usage error', async (args, says) => {
    const { exitCode, stderr, stdout } = await postcopy('demo', ...args);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(says);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(stdout).toBe('');
  });

  test('more memory than there is: one sentence, not a crash', async () => {
    const { exitCode, stderr } = await postcopy('demo', '--memory', '4096T');
    expect(exitCode).toBe(1);
    expectOneSentence(stderr);
  });
});

describe('probe', () => {
  test('--json is the contract', async () => {
    const { exitCode, stdout } = await postcopy('probe', '--json');
    expect(exitCode).toBe(0);
    const probe = JSON.parse(stdout);
    expect(probe).toMatchObject({
      kernel: expect.stringMatching(/^\d+\.\d+/),
      userfaultfd: {
        available: true,
        via: expect.stringMatching(/^(device|syscall|user-mode-only)$/),
        memory: { anonymous: { missing: true }, shmem: expect.anything(), hugetlb: expect.anything() },
      },
      pagemapScan: expect.any(Boolean),
      kvm: { available: expect.any(Boolean) },
    });
    expect(Array.isArray(probe.problems)).toBe(true);
  });

  test('as a user who may not: says what is forbidden and how to allow it', async () => {
    const { exitCode, stdout } = await execa(process.execPath, [main, 'probe', '--json'], {
      reject: false,
      uid: 65534,
      gid: 65534,
    });
    const probe = JSON.parse(stdout);
    // User-mode faults need no privilege on a kernel that has them; kernel faults do.
    expect(probe.userfaultfd.ways.device).toBe('EACCES');
    expect(probe.userfaultfd.ways.syscall).toBe('EPERM');
    expect(exitCode).toBe(probe.userfaultfd.available ? 0 : 1);
    expect(probe.problems.some(({ fix }: { fix: string }) => fix.includes('vm.unprivileged_userfaultfd=1'))).toBe(true);
  });

  test('the table names every facility', async () => {
    const { stdout } = await postcopy('probe');
    for (const row of ['kernel', 'userfaultfd', 'anonymous memory', 'PAGEMAP_SCAN', 'KVM', 'huge pages'])
      expect(stdout).toContain(row);
  });
});

describe('the command itself', () => {
  test('no command: help, exit 2', async () => {
    const { exitCode } = await postcopy();
    expect(exitCode).toBe(2);
  });

  test('--version and --help succeed', async () => {
    expect((await postcopy('--version')).exitCode).toBe(0);
    expect((await postcopy('--help')).stdout).toContain('probe');
  });
});
