/** Samples over time: few, evenly, from begin to end, and nothing bad among them lost. */
import { expect, test } from 'vitest';
import type { DestinationSample } from '#lib/dashboard/model.js';
import { SAMPLES_MAX, withSamples } from '#lib/dashboard/samples.js';

const sample = (atMs: number, p99Us = 100): DestinationSample => {
  const latency = { p50Us: 50, p99Us };
  const stages = { total: latency, requestSent: latency, pageArrived: latency, pagePlaced: latency };
  return { atMs, transferred: atMs, faults: 0, waiting: 0, writes: 0, latency: p99Us === 0 ? null : stages };
};

test('as they are, as long as they are few', () => {
  expect(withSamples([sample(1)], [sample(2), sample(3)])).toEqual([sample(1), sample(2), sample(3)]);
});

test('for hours: evenly from begin to end, and the worst latency among them', () => {
  let samples: readonly DestinationSample[] = [];
  for (let i = 0; i < 20_000; i += 1) {
    const jitter = (i * 7919) % 9;
    samples = withSamples(samples, [sample(i * 250 + jitter, i === 7777 ? 900_000 : i % 3 === 0 ? 0 : 100)]);
  }
  expect(samples.length).toBeGreaterThan(SAMPLES_MAX / 4);
  expect(samples.length).toBeLessThanOrEqual(SAMPLES_MAX);
  expect(samples[0].atMs).toBe(0);
  expect(samples.at(-1)?.atMs).toBeGreaterThanOrEqual(19_999 * 250);
  expect(Math.max(...samples.map(({ latency }) => latency?.total.p99Us ?? 0))).toBe(900_000);
  const gaps = samples.slice(1).map(({ atMs }, i) => atMs - samples[i].atMs);
  expect(Math.min(...gaps)).toBeGreaterThan(0);
  expect(Math.max(...gaps)).toBeLessThan(60_000); // of the 5,000,000 ms
});
