/** The metrics as a Prometheus reads them. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createRegistry, type MetricsLook, metricNames } from '#lib/metrics/migration-metrics.js';
import { destinationDone, sourceDone } from '../../testing/demo-parts.ts';
import { readPrometheusText } from '../../testing/prometheus-text.ts';

const pauses = { pauses: 2, recoveries: 1, pausedMs: 1500 };
const stage = { counts: [1, ...Array(17).fill(0), 2], sumUs: 3_000_000 };
const both: MetricsLook = {
  source: { info: sourceDone.info, pauses },
  destination: {
    info: destinationDone.info,
    pauses,
    latency: { total: stage, requestSent: stage, pageArrived: stage, pagePlaced: stage },
  },
};

async function scrape(look: MetricsLook) {
  return readPrometheusText(await createRegistry(() => look).metrics());
}

/** The one sample with these labels. */
async function value(name: string, labels: Readonly<Record<string, string>>) {
  const { samples } = (await scrape(both)).get(name)!;
  const found = samples.filter((each) => Object.entries(labels).every(([label, text]) => each.labels[label] === text));
  expect(found).toHaveLength(1);
  return found[0].value;
}

test('a Prometheus can read all of it, and each metric says what it is', async () => {
  const families = await scrape(both);
  expect([...families.keys()]).toEqual(metricNames);
  for (const [name, { help, type, samples }] of families) {
    expect(name).toMatch(/^postcopy_[a-z_]+$/);
    expect(help).not.toBe('');
    expect(name.endsWith('_total')).toBe(type === 'counter');
    for (const { value } of samples) expect(value).toBeGreaterThanOrEqual(0);
  }
});

test('the status is 1 of the present one and 0 of all others', async () => {
  expect(await value('postcopy_migration_status', { side: 'source', status: sourceDone.info.status })).toBe(1);
  expect(await value('postcopy_migration_status', { side: 'source', status: 'setup' })).toBe(0);
  const { samples } = (await scrape(both)).get('postcopy_migration_status')!;
  expect(samples.filter(({ value }) => value === 1)).toHaveLength(2);
});

test('figures are those of the migration, in seconds and bytes', async () => {
  const { info } = sourceDone;
  expect(await value('postcopy_downtime_seconds', { side: 'source' })).toBe(info.downtime / 1000);
  expect(await value('postcopy_transferred_bytes_total', { side: 'source' })).toBe(info.ram.transferred);
  expect(await value('postcopy_pages_total', { side: 'destination', kind: 'zero' })).toBe(
    destinationDone.info.ram.duplicate,
  );
  expect(await value('postcopy_paused_seconds_total', { side: 'destination' })).toBe(1.5);
  expect(await value('postcopy_recoveries_total', { side: 'source' })).toBe(1);
});

test('the histogram of latency adds up', async () => {
  const { samples } = (await scrape(both)).get('postcopy_fault_latency_seconds')!;
  const total = samples.filter(({ labels }) => labels.stage === 'total');
  expect(total.find(({ labels }) => labels.le === '+Inf')?.value).toBe(3);
  expect(total.find(({ name }) => name.endsWith('_count'))?.value).toBe(3);
  expect(total.find(({ name }) => name.endsWith('_sum'))?.value).toBe(3);
});

test('it is looked when it is asked for, and of what there is not there are no samples', async () => {
  let look: MetricsLook = {};
  const registry = createRegistry(() => look);
  const samples = async () =>
    [...readPrometheusText(await registry.metrics()).values()].reduce((sum, family) => sum + family.samples.length, 0);
  expect(await samples()).toBe(0);
  look = { source: both.source };
  expect(await samples()).toBeGreaterThan(20);
});

test('each stands in the documentation, and no other', () => {
  const text = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
  const told = [...text.matchAll(/^\| `(postcopy_\w+)`/gm)].map(([, name]) => name);
  expect(told.sort()).toEqual([...metricNames].sort());
});
