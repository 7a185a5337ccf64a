/** The rate of placing alone is measured, and leaves nothing behind. */
import { expect, test } from 'vitest';
import { measurePlacementRate } from '#lib/cli/placement-rate.js';
import { native } from '#lib/native.js';

test.each([4096, 65 * 4096, 16 * 1024 * 1024])('%i bytes', (bytes) => {
  const before = native().openHandles();
  const rate = measurePlacementRate(bytes);
  expect(rate).toBeGreaterThan(0);
  expect(Number.isFinite(rate)).toBe(true);
  expect(native().openHandles()).toEqual(before);
});
