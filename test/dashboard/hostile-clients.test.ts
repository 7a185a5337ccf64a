/** Clients of a dashboard that mean ill, while a guest is migrated by the process that they attack. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Observer } from '#lib/dashboard/observer.js';
import { watchIncoming, watchOutgoing } from '#lib/dashboard/side-watch.js';
import { StressGuest } from '#lib/guest/stress-guest.js';
import { listen } from '#lib/migration/listen.js';
import { migrate } from '#lib/migration/migrate.js';
import { inCheckout } from '../../testing/checkout.ts';

const MEMORY = 32 * 1024 * 1024;
/** What a migration may take on a busy host; without clients a second. */
const PATIENCE_MS = 20_000;

let folder: string;
let observer: Observer;
let flood: ChildProcess | undefined;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  observer = await Observer.open({ title: 'a test', dashboard: { uri: 'tcp:127.0.0.1:0', anyHost: false } });
});
afterEach(async () => {
  flood?.kill('SIGKILL');
  await observer.close();
  rmSync(folder, { recursive: true });
});

/** A whole postcopy within this process; every page of it is right. */
async function migrated(): Promise<number> {
  const source = await StressGuest.create({ memory: MEMORY, vcpus: 1, writesPerSecond: 5000 });
  const room = StressGuest.empty({ memory: MEMORY });
  try {
    const capabilities = { postcopyRam: true };
    const incoming = await listen(`unix:${folder}/m`, { guest: room, capabilities });
    await source.start();
    const began = performance.now();
    const outgoing = await migrate(source, incoming.uri, { capabilities, postcopyAfterPasses: 1 });
    const run = observer.begin([watchOutgoing(outgoing).look, watchIncoming(incoming).look]);
    await Promise.all([outgoing.finished, incoming.finished]);
    const tookMs = performance.now() - began;
    await run.end({ isSuccess: true, text: 'completed' });
    await room.stop();
    expect(await room.verify()).toMatchObject({ lostWrites: 0, badPages: [] });
    return tookMs;
  } finally {
    source.close();
    room.close();
  }
}

test.each([
  ['garbage', 20],
  ['heads', 20],
  ['requests', 20],
  ['slow', 200],
  ['silent', 1000],
  ['readers', 30],
  ['others', 20],
])('%s from %i clients: the guest goes over whole, in time, and they cost little memory', async (how, clients) => {
  const port = new URL(observer.url ?? '').port;
  const before = process.memoryUsage();
  flood = spawn(process.execPath, [inCheckout('testing/http-flood.mjs'), port, how, String(clients)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(flood.stdout as NonNullable<typeof flood.stdout>, 'data');
  expect(await migrated()).toBeLessThan(PATIENCE_MS);
  const after = process.memoryUsage();
  const grown = (kind: 'heapUsed' | 'external') => after[kind] - before[kind];
  expect(grown('heapUsed')).toBeLessThan(64 * 1024 * 1024);
  expect(grown('external')).toBeLessThan(64 * 1024 * 1024);
});
