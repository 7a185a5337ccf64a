/** The probe's table: what a host can do, and what to do about what it can't. */
import { stripVTControlCharacters } from 'node:util';
import { expect, test } from 'vitest';
import { probeTable } from '#lib/cli/probe-table.js';
import type { HostProbe } from '#lib/host/probe.js';
import { ableHost } from '../../testing/host-facts.ts';

const all = { missing: true, wp: true, minor: true };
const none = { missing: false, wp: false, minor: false };

const able: HostProbe = {
  kernel: '6.18.0',
  userfaultfd: {
    available: true,
    via: 'device',
    ways: { device: null, syscall: null, 'user-mode-only': null },
    features: ['WP_ASYNC', 'MISSING_SHMEM'],
    memory: { anonymous: { missing: true, wp: true, minor: false }, shmem: all, hugetlb: none },
  },
  pagemapScan: true,
  kvm: { available: true, apiVersion: 12 },
  hugepages: [{ size: 2 ** 21, total: 8, free: 3 }],
  works: true,
  problems: [],
  facts: ableHost,
};

/** The table's rows as name → text, lines of one cell joined. */
function rows(probe: HostProbe): Record<string, string> {
  const cells: Record<string, string> = {};
  let last = '';
  for (const line of stripVTControlCharacters(probeTable(probe)).split('\n')) {
    const [, name, text] = line.split('│').map((cell) => cell.trim());
    if (text === undefined) continue;
    if (name !== '') last = name;
    cells[last] = `${cells[last] ?? ''} ${text}`.trim();
  }
  return cells;
}

test('a host that can do all', () => {
  expect(rows(able)).toEqual({
    kernel: '6.18.0',
    userfaultfd: 'yes (by device); device: open, syscall: open, user-mode-only: open',
    features: 'WP_ASYNC MISSING_SHMEM',
    'anonymous memory': 'missing, wp',
    'shared memory': 'missing, wp, minor',
    'hugetlb memory': 'none',
    PAGEMAP_SCAN: 'yes',
    'precopy rounds': 'yes (writes are tracked by WP_ASYNC and PAGEMAP_SCAN)',
    KVM: 'yes (API 12)',
    'huge pages': '2.0 MiB: 3 of 8 free',
    'transparent ones': 'madvise',
    'contained in': 'nothing',
  });
  expect(probeTable(able)).toContain('everything works here');
});

test('a host that can do nothing says why, and what would allow it', () => {
  const unable: HostProbe = {
    kernel: '5.4.0',
    userfaultfd: {
      available: false,
      via: null,
      ways: { device: 'ENOENT', syscall: 'EPERM', 'user-mode-only': 'EINVAL' },
      features: [],
      memory: { anonymous: none, shmem: none, hugetlb: none },
    },
    pagemapScan: false,
    kvm: { available: false, apiVersion: null },
    hugepages: [],
    works: false,
    problems: [
      {
        ...{ id: 'userfaultfd-privilege', severity: 'error', what: 'this user may not use userfaultfd' },
        ...{ why: 'the sysctl is 0', fix: 'run as root', effect: 'no migration' },
      },
      {
        ...{ id: 'kvm-not-loaded', severity: 'warning', what: 'there is no /dev/kvm' },
        ...{ why: 'no kvm', fix: 'load the kvm module', effect: 'no KVM guest' },
      },
    ],
    facts: { ...ableHost, container: 'docker', transparentHugepages: null },
  };
  expect(rows(unable)).toMatchObject({
    userfaultfd: 'no; device: ENOENT, syscall: EPERM, user-mode-only: EINVAL',
    features: 'none',
    'anonymous memory': 'none',
    PAGEMAP_SCAN: 'no',
    'precopy rounds': 'no: a running guest is switched to postcopy at once',
    KVM: 'no',
    'huge pages': 'none',
    'transparent ones': 'unknown',
    'contained in': 'docker',
  });
  const text = stripVTControlCharacters(probeTable(unable));
  for (const { severity, what, why, fix, effect } of unable.problems) {
    expect(text).toContain(`${severity}: ${what}\n  because: ${why}\n  effect:  ${effect}\n  to mend: ${fix}`);
  }
  expect(text).toContain('no migration works here until the errors are mended');
  const [, warning] = unable.problems;
  expect(stripVTControlCharacters(probeTable({ ...able, problems: [warning] }))).toContain('migrations work here, but');
});

test.each([
  ['PAGEMAP_SCAN', { ...able, pagemapScan: false }],
  ['WP_ASYNC', { ...able, userfaultfd: { ...able.userfaultfd, features: ['MISSING_SHMEM'] } }],
])('without %s there are no precopy rounds', (_what, probe) => {
  expect(rows(probe)['precopy rounds']).toMatch(/^no/);
});

test('keeps to its 101 columns, however many features there are', () => {
  const features = Array.from({ length: 20 }, (_, i) => `A_FEATURE_${i}`);
  const table = stripVTControlCharacters(probeTable({ ...able, userfaultfd: { ...able.userfaultfd, features } }));
  expect(Math.max(...table.split('\n').map((line) => line.length))).toBe(101);
  for (const feature of features) expect(table).toContain(feature);
});
