/** Fault latency against the sorted list of what was recorded, by stage. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FaultLatency, type LatencyStage, latencyStages } from '#lib/destination/fault-latency.js';

const summaries = (latency: FaultLatency) =>
  Object.fromEntries(latencyStages.map((stage) => [stage, latency.summary(stage)]));

test('nothing recorded is zeroes', () => {
  const none = { p50Us: 0, p99Us: 0, maxUs: 0 };
  expect(summaries(new FaultLatency())).toEqual({
    total: none,
    requestSent: none,
    pageArrived: none,
    pagePlaced: none,
  });
});

test('counts between bounds are those of the list (property)', () => {
  const us = fc.integer({ min: 0, max: 2000 });
  fc.assert(
    fc.property(fc.array(us, { maxLength: 100 }), fc.uniqueArray(us, { maxLength: 8 }), (faults, bounds) => {
      const latency = new FaultLatency();
      for (const time of faults) latency.record(5e9, 5e9, 5e9, 5e9 + time);
      const boundsUs = bounds.sort((a, b) => a - b);
      const within = (low: number, high: number) => faults.filter((time) => time > low && time <= high).length;
      const expected = [...boundsUs, Infinity].map((bound, i) => within(i === 0 ? -1 : boundsUs[i - 1], bound));
      expect(latency.counts('total', boundsUs)).toEqual(expected);
    }),
  );
});

test('percentiles of each stage are those of the sorted list, to three digits (property)', () => {
  const us = fc.integer({ min: 0, max: 10_000_000 });
  fc.assert(
    fc.property(fc.array(fc.tuple(us, us, us), { minLength: 1, maxLength: 300 }), (faults) => {
      const latency = new FaultLatency();
      for (const [requestSent, pageArrived, pagePlaced] of faults) {
        const sentUs = 5e9 + requestSent;
        const arrivedUs = sentUs + pageArrived;
        latency.record(5e9, sentUs, arrivedUs, arrivedUs + pagePlaced);
      }
      const times: Record<LatencyStage, number[]> = {
        total: faults.map(([a, b, c]) => a + b + c),
        requestSent: faults.map(([time]) => time),
        pageArrived: faults.map(([, time]) => time),
        pagePlaced: faults.map(([, , time]) => time),
      };
      for (const stage of latencyStages) {
        const sorted = times[stage].sort((a, b) => a - b);
        const at = (percent: number): number => sorted[Math.ceil((percent / 100) * sorted.length) - 1];
        const { p50Us, p99Us, maxUs } = latency.summary(stage);
        for (const [found, exact] of [
          [p50Us, at(50)],
          [p99Us, at(99)],
          [maxUs, at(100)],
        ]) {
          expect(Math.abs(found - exact)).toBeLessThanOrEqual(Math.max(1, exact / 1000));
        }
      }
    }),
    { numRuns: 30 },
  );
});

test.each<[string, [fault: number, sent: number, arrived: number, placed: number], number[]]>([
  ['in order', [100, 110, 130, 160], [60, 10, 20, 30]],
  ['arrived before it was asked for', [100, 110, 90, 160], [60, 10, 0, 50]],
  ['placed before the request was out', [100, 0, 90, 160], [60, 0, 0, 60]],
  ['asked for only after it was placed', [100, 200, 130, 160], [60, 60, 0, 0]],
  ['all at once', [100, 100, 100, 100], [0, 0, 0, 0]],
  ['fractions', [100.2, 100.4, 101.4, 101.6], [1, 0, 1, 0]],
])('the stages of a page: %s', (_what, [fault, sent, arrived, placed], expected) => {
  const latency = new FaultLatency();
  latency.record(fault, sent, arrived, placed);
  expect(latencyStages.map((stage) => latency.summary(stage).maxUs)).toEqual(expected);
});

test('two hours in a pause are taken', () => {
  const latency = new FaultLatency();
  latency.record(0, 0, 0, 7_200_000_000);
  expect(latency.summary('total').maxUs).toBeGreaterThanOrEqual(3_600_000_000);
});

test('two threads record into one, and a third one reads', () => {
  const one = new FaultLatency();
  const other = new FaultLatency(one.buffer);
  for (let us = 1; us <= 50; us += 1) {
    one.record(0, 0, 0, us);
    other.record(0, 0, 0, 50 + us);
  }
  expect(new FaultLatency(one.buffer).summary('total')).toEqual({ p50Us: 50, p99Us: 99, maxUs: 100 });
});
