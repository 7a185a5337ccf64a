/** Limits that a migration would run into. */
import { expect, test } from 'vitest';
import type { HostFacts } from '#lib/doctor/facts.js';
import { processProblems } from '#lib/doctor/process-problems.js';
import { ableHost } from '../../testing/host-facts.ts';

test('a host with room has no problem, nor one of which nothing is known', () => {
  expect(processProblems(ableHost)).toEqual([]);
  const limits = { openFiles: null, processes: null, lockedMemory: null, addressSpace: null };
  const sysctl = { ...ableHost.sysctl, maxMapCount: null };
  expect(processProblems({ ...ableHost, limits, sysctl, mappings: null, transparentHugepages: null })).toEqual([]);
});

test.each<[string, Partial<HostFacts>, RegExp, RegExp]>([
  ['limit-open-files', { limits: { ...ableHost.limits, openFiles: 100 } }, /limit is 100/, /ulimit -n 1024/],
  ['limit-mappings', { mappings: 64_000 }, /has 64000, and vm.max_map_count is 65530/, /max_map_count=262144/],
  ['limit-threads', { threadsLeft: 29 }, /gives 29 more/, /--pids-limit -1/],
  ['transparent-hugepages', { transparentHugepages: 'never' }, /says never/, /echo madvise/],
])('%s', (id, facts, why, fix) => {
  const [problem, ...others] = processProblems({ ...ableHost, ...facts });
  expect(others).toEqual([]);
  expect(problem).toMatchObject({ id, severity: 'warning', effect: expect.any(String) });
  expect(problem.why).toMatch(why);
  expect(problem.fix).toMatch(fix);
});
