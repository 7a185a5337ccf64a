/** The probe as a user runs it. */
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

function postcopy(...args: string[]) {
  return execa(process.execPath, [main, ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });
}

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
  expect(probe).toMatchObject({ works: true, problems: expect.any(Array), facts: { kernel: probe.kernel } });
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

test('a guest that would not fit is an error, and exit code 1', async () => {
  const { exitCode, stdout } = await postcopy('probe', '--json', '--memory', '512T');
  expect(exitCode).toBe(1);
  expect(JSON.parse(stdout).problems[0]).toMatchObject({ id: 'memory-available', severity: 'error' });
});

test('the table names every facility', async () => {
  const { stdout } = await postcopy('probe');
  for (const row of [
    'kernel',
    'userfaultfd',
    'anonymous memory',
    'PAGEMAP_SCAN',
    'precopy rounds',
    'KVM',
    'huge pages',
  ])
    expect(stdout).toContain(row);
});
