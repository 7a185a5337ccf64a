/** Histograms of cycles, as microseconds. */
import { expect, test } from 'vitest';
import { HISTOGRAM_BUCKETS } from '#lib/guest/kvm/own-page.js';
import { touchLatency } from '#lib/guest/kvm/touch-latency.js';

/** The word that a touch of so many cycles is counted in, by the comment of `latency`. */
function bucketOf(cycles: number): number {
  const log2 = Math.floor(Math.log2(cycles));
  return 4 * log2 + Math.floor(cycles / 2 ** (log2 - 2)) - 4;
}

function histogram(...cycles: number[]): Uint32Array {
  const words = new Uint32Array(HISTOGRAM_BUCKETS);
  for (const touch of cycles) words[bucketOf(touch)] += 1;
  return words;
}

test('each touch is in the bucket whose bounds it is between', () => {
  for (const cycles of [4, 5, 7, 8, 1000, 123_456, 2 ** 32 - 1]) {
    const { touches, buckets, maxUs } = touchLatency([histogram(cycles)], [cycles], 1000);
    expect(touches).toBe(1);
    expect(buckets).toHaveLength(1);
    expect(buckets[0].fromUs).toBeLessThanOrEqual(cycles);
    expect(buckets[0].fromUs).toBeGreaterThan(cycles * 0.79);
    expect(maxUs).toBe(cycles);
  }
});

test('percentiles are over all vCPUs, and never above the longest', () => {
  const fast = histogram(...Array.from({ length: 98 }, () => 1000));
  const { p50Us, p99Us, maxUs } = touchLatency([fast, histogram(900_000, 900_000)], [1000, 900_000], 2000);
  expect(p50Us).toBe(512);
  expect(p99Us).toBe(450_000);
  expect(maxUs).toBe(450_000);
});

test('none is none', () => {
  const none = { touches: 0, p50Us: 0, p99Us: 0, maxUs: 0, buckets: [] };
  expect(touchLatency([], [], 1000)).toEqual(none);
  expect(touchLatency([histogram()], [0], 1000)).toEqual(none);
});
