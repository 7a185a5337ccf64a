/** The metrics of a real migration, before it and at its end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StressGuest } from '#lib/guest/stress-guest.js';
import { createRegistry } from '#lib/metrics/migration-metrics.js';
import { WatchedMigrations } from '#lib/metrics/watched-migrations.js';
import { listen } from '#lib/migration/listen.js';
import { migrate } from '#lib/migration/migrate.js';
import { readPrometheusText } from '../../testing/prometheus-text.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('scraped before it, and at its end', async () => {
  const watched = new WatchedMigrations();
  const metrics = () => createRegistry(() => watched.look()).metrics();
  const settings = { memory: 8 * 2 ** 20, vcpus: 1 };
  const there = StressGuest.empty(settings);
  const here = await StressGuest.create({ ...settings, writesPerSecond: 0, workingSetShare: 0.5 });
  try {
    await here.start();
    const capabilities = { postcopyRam: true };
    const incoming = await listen(`unix:${folder}/m.sock`, { guest: there, capabilities });
    watched.incoming(incoming);
    const before = readPrometheusText(await metrics());
    const setup = before.get('postcopy_migration_status')!.samples.find(({ value }) => value === 1);
    expect(setup?.labels).toEqual({ side: 'destination', status: 'setup' });
    const outgoing = await migrate(here, incoming.uri, { capabilities, postcopyAfterPasses: 0 });
    watched.outgoing(outgoing);
    await Promise.all([outgoing.finished, incoming.finished]);
    const after = readPrometheusText(await metrics());
    const of = (name: string, side: string) => after.get(name)!.samples.find(({ labels }) => labels.side === side);
    expect(of('postcopy_transferred_bytes_total', 'source')?.value).toBe(outgoing.info().ram.transferred);
    expect(of('postcopy_page_faults_total', 'destination')?.value).toBe(incoming.info().faults.count);
    const counts = after.get('postcopy_fault_latency_seconds')!.samples.filter(({ name }) => name.endsWith('_count'));
    expect(counts.find(({ labels }) => labels.stage === 'total')?.value).toBeGreaterThan(0);
  } finally {
    await there.stop();
    here.close();
    there.close();
  }
});
