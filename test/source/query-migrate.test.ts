/** The answer to query-migrate: the fields and their kinds are those of a real QEMU, status by status. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type MigrationStatus, migrationStatuses } from '#lib/source/migration-state.js';
import { type OutgoingInfo, outgoingInfo } from '#lib/source/outgoing-info.js';
import { queryMigrate } from '#lib/source/query-migrate.js';
import { createSourceCounters } from '#lib/source/source-counters.js';
import { Qemu } from '../../testing/qemu.ts';

function info(status: MigrationStatus, other: Partial<OutgoingInfo> = {}): OutgoingInfo {
  const counters = { ...createSourceCounters().snapshot(), setupTime: 8.7, downtime: 3.9, pagesPerSecond: 520.5 };
  const own = { status, totalTime: 409.8, cpuThrottlePercentage: undefined, errorDesc: undefined } as const;
  return {
    ...outgoingInfo({ ...own, dirtyTracking: 'none', counters, hasEnded: false, totalBytes: 4096, downtimeLimit: 300 }),
    ...other,
  };
}

/** An object's keys and the kinds of their values, all the way down. */
type Shape = string | { readonly [key: string]: Shape };

function shapeOf(value: unknown): Shape {
  if (typeof value !== 'object' || value === null) return typeof value;
  const entries = Object.entries(value).map(([key, each]) => [key, shapeOf(each)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe('against a real QEMU', () => {
  let folder: string;
  let qemu: Qemu;
  let sink: Server;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'postcopy-qmp-'));
    sink = createServer((socket) => socket.on('error', () => {}).resume());
    await new Promise<void>((resolve) => sink.listen(join(folder, 'sink'), resolve));
    qemu = await Qemu.start(folder);
  });
  afterAll(async () => {
    await qemu?.quit();
    sink.close();
    rmSync(folder, { recursive: true });
  });

  const start = async (bytesPerSecond: number): Promise<void> => {
    await qemu.ask('migrate-set-parameters', { 'max-bandwidth': bytesPerSecond });
    await qemu.ask('migrate', { uri: `unix:${join(folder, 'sink')}` });
  };

  // A QEMU that has migrated can't again, so the migration that ends well comes last.
  test('before the first', async () => {
    expect(queryMigrate(info('none'))).toEqual(await qemu.ask('query-migrate'));
  });

  test('failed', async () => {
    await qemu.ask('migrate', { uri: `unix:${join(folder, 'nobody')}` });
    let reply = await qemu.ask('query-migrate');
    while (reply.status !== 'failed' || reply['error-desc'] === undefined) reply = await qemu.ask('query-migrate');
    expect(shapeOf(queryMigrate(info('failed', { errorDesc: 'why' })))).toEqual(shapeOf(reply));
  });

  test('active, then cancelled', async () => {
    await start(4096);
    const active = await qemu.queryMigrate('active');
    expect(shapeOf(queryMigrate(info('active')))).toEqual(shapeOf(active));
    await qemu.ask('migrate_cancel');
    expect(shapeOf(queryMigrate(info('cancelled')))).toEqual(shapeOf(await qemu.queryMigrate('cancelled')));
  });

  test('completed', async () => {
    await start(2 ** 30);
    expect(shapeOf(queryMigrate(info('completed')))).toEqual(shapeOf(await qemu.queryMigrate('completed')));
  });
});

test('times are whole milliseconds and rates whole numbers, cut and not rounded', () => {
  expect(queryMigrate(info('active'))).toMatchObject({
    'setup-time': 8,
    'total-time': 409,
    'expected-downtime': 300,
    ram: { 'pages-per-second': 520 },
  });
  expect(queryMigrate(info('completed'))).toMatchObject({ downtime: 3 });
});

test('the throttle shows while it is on, an error only where it failed', () => {
  expect(queryMigrate(info('active', { cpuThrottlePercentage: 20 }))).toMatchObject({ 'cpu-throttle-percentage': 20 });
  expect(queryMigrate(info('failed'))).toEqual({ status: 'failed' });
});

test('every status says itself but the one before the first migration', () => {
  const said = migrationStatuses.map((status) => queryMigrate(info(status)).status);
  expect(said).toEqual(migrationStatuses.map((status) => (status === 'none' ? undefined : status)));
});
