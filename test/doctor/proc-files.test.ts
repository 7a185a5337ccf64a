/** The kernel's own files as facts: as they are on real hosts, of old kernels and in containers. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  cgroupFolders,
  configOption,
  isInitialUserNamespace,
  isKernelOlder,
  memoryBytes,
  miscMinor,
  mountOptions,
  parseStatus,
  softLimit,
} from '#lib/doctor/proc-files.js';

describe('/proc/self/status', () => {
  test('of a container of docker', () => {
    const text = 'CapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n';
    expect(parseStatus(text)).toEqual({
      seccomp: 'filter',
      seccompFilters: 1,
      noNewPrivileges: true,
      capabilities: ['CAP_DAC_OVERRIDE'],
    });
  });

  test('of an old kernel, which says less', () => {
    const status = { seccomp: 'none', seccompFilters: null, noNewPrivileges: false };
    expect(parseStatus('CapEff:\t0000000000080000\n')).toEqual({ ...status, capabilities: ['CAP_SYS_PTRACE'] });
  });

  test('of this process', () => {
    expect(parseStatus(readFileSync('/proc/self/status', 'utf8')).seccompFilters).toEqual(expect.any(Number));
  });
});

test('limits', () => {
  const text =
    'Max open files            1024                 4096                 files\nMax address space  unlimited';
  expect(softLimit(text, 'Max open files')).toBe(1024);
  expect(softLimit(text, 'Max address space')).toBeNull();
  expect(softLimit(text, 'Max processes')).toBeNull();
});

test('memory, in bytes', () => {
  expect(memoryBytes('MemTotal:  10 kB\nMemAvailable:     5 kB\n', 'MemAvailable')).toBe(5120);
  expect(memoryBytes('MemTotal:  10 kB\n', 'CommitLimit')).toBeNull();
});

test('user namespaces', () => {
  expect(isInitialUserNamespace('         0          0 4294967295\n')).toBe(true);
  expect(isInitialUserNamespace('         0       1000          1\n')).toBe(false);
  expect(isInitialUserNamespace('         0     100000      65536\n')).toBe(false);
});

test('drivers of /proc/misc', () => {
  const text = '126 userfaultfd\n232 kvm\n 58 kvm-other\n';
  expect(['userfaultfd', 'kvm', 'fuse'].map((name) => miscMinor(text, name))).toEqual([126, 232, null]);
});

test('options of the kernel', () => {
  const text = 'CONFIG_USERFAULTFD=y\nCONFIG_KVM=m\n# CONFIG_X is not set\n';
  const names = ['CONFIG_USERFAULTFD', 'CONFIG_KVM', 'CONFIG_X', 'CONFIG_USER'];
  expect(names.map((name) => configOption(text, name))).toEqual([true, true, false, false]);
  expect(configOption(null, 'CONFIG_KVM')).toBeNull();
});

test.each([
  ['6.1.0-18-amd64', '6.7', true],
  ['6.18.44', '6.7', false],
  ['5.15.0-100-generic', '5.11', false],
  ['4.19.0', '5.11', true],
  ['6.7.0', '6.7', false],
])('Linux %s is older than %s: %s', (release, than, older) => {
  expect(isKernelOlder(release, than)).toBe(older);
});

test('the mount that a path is on is the innermost, and of two there the later', () => {
  const text = [
    '1 0 8:1 / / rw,relatime - ext4 /dev/sda rw',
    '2 1 0:5 / /dev rw,nosuid - devtmpfs udev rw',
    '3 2 0:6 / /dev rw,nosuid,nodev - tmpfs none rw',
    '4 1 0:7 / /device rw,noexec - tmpfs none rw',
  ].join('\n');
  expect(mountOptions(text, '/dev/kvm')).toContain('nodev');
  expect(mountOptions(text, '/etc/group')).toEqual(['rw', 'relatime']);
});

describe('cgroup folders, innermost first', () => {
  test('of version 2', () => {
    expect(cgroupFolders('0::/system.slice/x.service\n', 'memory')).toEqual([
      '/system.slice/x.service',
      '/system.slice',
      '',
    ]);
  });
  test('of version 1, with its controller', () => {
    expect(cgroupFolders('4:memory:/a/b\n8:pids:/\n', 'memory')).toEqual(['/memory/a/b', '/memory/a', '/memory']);
    expect(cgroupFolders('3:cpu,cpuacct:/\n8:pids:/\n', 'pids')).toEqual(['/pids']);
  });
});
