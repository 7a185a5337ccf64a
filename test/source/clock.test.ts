/** The source's clock against the one it stands for. */
import { expect, test } from 'vitest';
import { native } from '#lib/native.js';
import { nowMs } from '#lib/source/clock.js';

test('is CLOCK_MONOTONIC in milliseconds', () => {
  const before = native().monotonicUs();
  const now = nowMs() * 1000;
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(native().monotonicUs());
});
