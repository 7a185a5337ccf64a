/** What each release of Linux lacks of what is used. */
import { expect, test } from 'vitest';
import { kernelProblems } from '#lib/doctor/kernel-problems.js';
import { ableHost } from '../../testing/host-facts.ts';

const all = [
  ...['MOVE', 'WP_ASYNC', 'PAGEMAP_SCAN', 'POISON', 'WP_UNPOPULATED', 'WP_HUGETLBFS_SHMEM', 'MISSING_SHMEM'],
  ...['MISSING_HUGETLBFS', 'EVENT_REMOVE'],
];

function problemsOf(kernel: string, missing: readonly string[]) {
  const has = new Set(all.filter((name) => !missing.includes(name)));
  return kernelProblems(has, { ...ableHost, kernel });
}

test('one that has everything has no problem', () => {
  expect(problemsOf('6.18.0', [])).toEqual([]);
});

test.each(all)('without %s there is a warning that says what it costs', (name) => {
  const [problem, ...others] = problemsOf('6.18.0', [name]);
  expect(others).toEqual([]);
  expect(problem).toMatchObject({ severity: 'warning', effect: expect.any(String) });
  expect(problem.why).toBe(`Linux 6.18.0 was built without ${name}, or has none on x64`);
});

test('an old one is told the release to use', () => {
  expect(problemsOf('6.6.0', ['MOVE', 'WP_ASYNC', 'PAGEMAP_SCAN']).map(({ id, why, fix }) => [id, why, fix])).toEqual([
    ['kernel-move', 'MOVE came with Linux 6.8, and this is 6.6.0', 'use Linux 6.8 or newer'],
    ['kernel-tracking', 'WP_ASYNC came with Linux 6.7, and this is 6.6.0', 'use Linux 6.7 or newer'],
  ]);
});
