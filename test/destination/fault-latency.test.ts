/** Fault latency against the sorted list of what was recorded. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FaultLatency } from '#lib/destination/fault-latency.js';

test('nothing recorded is zeroes', () => {
  expect(new FaultLatency().summary).toEqual({ p50Us: 0, p99Us: 0, maxUs: 0 });
});

test('percentiles are those of the sorted list, to three digits (property)', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 10_000_000 }), { minLength: 1, maxLength: 300 }), (times) => {
      const latency = new FaultLatency();
      for (const us of times) latency.record(us);
      const sorted = [...times].sort((a, b) => a - b);
      const at = (percent: number): number => sorted[Math.ceil((percent / 100) * sorted.length) - 1];
      const { p50Us, p99Us, maxUs } = latency.summary;
      for (const [found, exact] of [
        [p50Us, at(50)],
        [p99Us, at(99)],
        [maxUs, at(100)],
      ]) {
        expect(Math.abs(found - exact)).toBeLessThanOrEqual(Math.max(1, exact / 1000));
      }
    }),
  );
});

test.each([
  ['less than a microsecond', 0.2, 1],
  ['a clock that stood still', 0, 1],
  ['two hours in a pause', 7_200_000_000, 3_600_000_000],
])('takes %s', (_what, us, atLeast) => {
  const latency = new FaultLatency();
  latency.record(us);
  expect(latency.summary.maxUs).toBeGreaterThanOrEqual(atLeast);
});
