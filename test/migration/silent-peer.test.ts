/** A destination that is silent where the source waits for it: the source pauses each time, and loses nothing. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createRelay, listen, migrate, type OutgoingMigration, StressGuest } from '#lib/index.js';
import { CuttingRelay } from '../../testing/cutting-relay.ts';

const PEER_TIMEOUT_MS = 800;
const settings = { memory: 4 * 2 ** 20, workingSetShare: 7 / 8, writesPerSecond: 5000 };

let folder: string;
let source: StressGuest;
let target: StressGuest;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-silent-'));
  source = await StressGuest.create(settings);
  target = StressGuest.empty(settings);
  await source.start();
});
afterEach(async () => {
  for (const guest of [source, target]) {
    if (guest.running) await guest.stop();
    guest.close();
  }
  rmSync(folder, { recursive: true });
});

const receive = () =>
  listen(`unix:${join(folder, 'in')}`, {
    ...{ guest: target, capabilities: { postcopyRam: true }, peerTimeoutMs: PEER_TIMEOUT_MS },
  });

const send = (uri: string, maxPostcopyBandwidth: number) =>
  migrate(source, uri, {
    ...{ capabilities: { postcopyRam: true }, postcopyAfterPasses: 0, peerTimeoutMs: PEER_TIMEOUT_MS },
    parameters: { maxPostcopyBandwidth },
  });

async function reach(migration: OutgoingMigration, status: string): Promise<void> {
  while (migration.status !== status) await once(migration, 'status');
}

async function expectWhole(): Promise<void> {
  await target.stop();
  const { lostPages, tornPages, stalePages, lostWrites } = await target.verify();
  expect({ lostPages, tornPages, stalePages, lostWrites }).toEqual({
    ...{ lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0 },
  });
}

test('the last word does not come: the source pauses, and giving up loses nothing', async () => {
  const incoming = await receive();
  const relay = await CuttingRelay.start(incoming.uri, {
    ...{ direction: 'return path', message: 'SHUT #1', place: 'before', kind: 'stall' },
  });
  const outgoing = await send(relay.uri, 0);
  await incoming.finished;
  await reach(outgoing, 'postcopy-paused');
  expect(outgoing.pauseReason?.message).toMatch(/has given no sign of life for 0\.8 s/);
  expect(outgoing.hasPlacedAll).toBe(true);
  expect(outgoing.giveUp()).toBe(true);
  expect(await outgoing.finished).toMatchObject({ status: 'completed' });
  await relay.close();
  await expectWhole();
});

test('no connection of a recovery says anything: each try fails in time, until one does', async () => {
  const incoming = await receive();
  const relay = await createRelay(`unix:${join(folder, 'out')}`, incoming.uri);
  for (const connection of [1, 2]) relay.inject({ kind: 'stall', after: 0, connection });
  const outgoing = await send(relay.uri, 2 ** 20);
  await reach(outgoing, 'postcopy-active');
  const isPaused = new Promise<void>((resolve) => {
    incoming.on('status', (status) => status === 'postcopy-paused' && resolve());
  });
  expect(outgoing.pause()).toBe(true);
  await Promise.all([reach(outgoing, 'postcopy-paused'), isPaused]);
  await incoming.recover();
  for (let silent = 0; silent < 2; silent++) {
    await expect(outgoing.recover(relay.uri)).rejects.toMatchObject({ code: 'PEER_GONE' });
    expect(outgoing.status).toBe('postcopy-paused');
  }
  // On a busy machine one that is not silent may be too slow as well.
  while (outgoing.status === 'postcopy-paused') await outgoing.recover(relay.uri).catch(() => {});
  expect(outgoing.hasPlacedAll).toBe(false);
  outgoing.setParameters({ maxPostcopyBandwidth: 0 });
  await Promise.all([outgoing.finished, incoming.finished]);
  await relay.close();
  await expectWhole();
});
