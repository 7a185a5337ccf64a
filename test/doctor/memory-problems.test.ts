/** Whether a guest that is to come would fit. */
import { expect, test } from 'vitest';
import type { HostFacts } from '#lib/doctor/facts.js';
import { type GuestToCome, memoryProblems } from '#lib/doctor/memory-problems.js';
import { ableHost, asUser } from '../../testing/host-facts.ts';

const guest: GuestToCome = { memory: 2 ** 30, kind: 'anonymous', isLocked: false };
const left = (memory: Partial<HostFacts['memory']>): HostFacts => ({
  ...ableHost,
  memory: { ...ableHost.memory, ...memory },
});

test('one that fits has no problem, of any kind', () => {
  expect(memoryProblems(guest, ableHost)).toEqual([]);
  expect(memoryProblems({ ...guest, isLocked: true }, ableHost)).toEqual([]);
  expect(memoryProblems({ ...guest, memory: 6 * 2 ** 20, kind: 'hugetlb' }, ableHost)).toEqual([]);
});

test.each<[string, Partial<GuestToCome>, HostFacts, RegExp, RegExp]>([
  ['memory-hugepages', { kind: 'hugetlb' }, ableHost, /takes 512 of 2 MiB, and 3 of 8 are free/, /echo 517 /],
  ['memory-hugepages', { kind: 'hugetlb' }, { ...ableHost, hugepages: [] }, /0 of 0/, /echo 512 /],
  ['memory-available', {}, left({ available: 2 ** 29 }), /is 512 MiB/, /larger host/],
  ['memory-cgroup', {}, left({ cgroupLeft: 65_536 }), /leaves 64 KiB/, /docker run --memory 2g/],
  ['memory-cgroup', {}, { ...left({ cgroupLeft: 1 }), container: 'kubernetes' }, /leaves/, /memory: 2Gi/],
  [
    'memory-overcommit',
    {},
    { ...left({ commitLeft: 2 ** 29 }), sysctl: { ...ableHost.sysctl, overcommitMemory: 2 } },
    /CommitLimit leaves 512 MiB/,
    /overcommit_memory=0/,
  ],
  [
    'memory-address-space',
    {},
    { ...ableHost, limits: { ...ableHost.limits, addressSpace: 2 ** 32 } },
    /limit is 4\.0 GiB, the guest has 1\.0 GiB/,
    /ulimit -v/,
  ],
  ['memory-locked', { isLocked: true }, asUser, /limit is 8 MiB, and CAP_IPC_LOCK/, /ulimit -l/],
])('%s', (id, wish, facts, why, fix) => {
  const [problem, ...others] = memoryProblems({ ...guest, ...wish }, facts);
  expect(others).toEqual([]);
  expect(problem.id).toBe(id);
  expect(problem.severity).toBe(id === 'memory-locked' ? 'warning' : 'error');
  expect(problem.why).toMatch(why);
  expect(problem.fix).toMatch(fix);
});

test('a kernel that promises less than it has is no problem unless it keeps to it', () => {
  expect(memoryProblems(guest, left({ commitLeft: 0 }))).toEqual([]);
});
