/** The latency histogram: of real counts, what adds up and what does not change. */
import { expect, test } from 'vitest';
import { FaultLatency } from '#lib/destination/fault-latency.js';
import { countLatency, histogramSamples, latencyBoundsUs } from '#lib/metrics/latency-histogram.js';

/** As an incoming migration has it. */
function latencyOf(...faultsUs: readonly number[]) {
  const latency = new FaultLatency();
  for (const us of faultsUs) latency.record(1000, 1000 + us / 2, 1000 + us, 1000 + us);
  return countLatency({
    latencyCounts: (stage, bounds) => latency.counts(stage, bounds),
    latencySumUs: (stage) => latency.sumUs(stage),
  });
}

const of = (samples: ReturnType<typeof histogramSamples>, stage: string, metricName: string) =>
  samples.filter(({ labels, metricName: name }) => labels.stage === stage && name === metricName);

test('buckets add up to the count, by stage', () => {
  const samples = histogramSamples('x', latencyOf(40, 60, 100, 900_000_000));
  const buckets = of(samples, 'total', 'x_bucket');
  expect(buckets.map(({ value }) => value)).toEqual([1, ...Array(latencyBoundsUs.length - 1).fill(3), 4]);
  expect(buckets.map(({ labels }) => labels.le).slice(0, 3)).toEqual(['0.00005', '0.0001', '0.0002']);
  expect(buckets.at(-1)?.labels.le).toBe('+Inf');
  expect(of(samples, 'total', 'x_count')[0].value).toBe(4);
  expect(of(samples, 'request_sent', 'x_count')[0].value).toBe(4);
});

test('the sum is that of all faults, in seconds', () => {
  const [exact] = of(histogramSamples('x', latencyOf(40, 60, 100)), 'total', 'x_sum');
  expect(exact.value).toBeCloseTo(200e-6, 12);
  const [long] = of(histogramSamples('x', latencyOf(5_000_000)), 'total', 'x_sum');
  expect(Math.abs(long.value - 5)).toBeLessThan(0.01);
});

test('without faults there is nothing in it', () => {
  expect(histogramSamples('x', latencyOf()).every(({ value }) => value === 0)).toBe(true);
});
