/** Pauses and recoveries, by the statuses that a migration goes through. */
import { expect, test } from 'vitest';
import { PauseCount } from '#lib/metrics/pause-count.js';

function through(...statuses: readonly string[]) {
  let now = 0;
  const count = new PauseCount(() => now);
  for (const status of statuses) {
    count.at(status);
    now += 100;
  }
  return count.figures;
}

test.each([
  [['setup', 'active', 'completed'], { pauses: 0, recoveries: 0, pausedMs: 0 }],
  [['postcopy-active', 'postcopy-paused'], { pauses: 1, recoveries: 0, pausedMs: 100 }],
  [['postcopy-paused', 'postcopy-recover', 'postcopy-paused', 'failed'], { pauses: 1, recoveries: 0, pausedMs: 300 }],
  [
    ['postcopy-paused', 'postcopy-recover', 'postcopy-active', 'postcopy-paused', 'completed'],
    { pauses: 2, recoveries: 2, pausedMs: 300 },
  ],
])('%j', (statuses, expected) => {
  expect(through(...statuses)).toEqual(expected);
});
