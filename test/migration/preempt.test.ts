/** Both sides ours, with the preempt channel: a running guest moves over both connections, and after a pause others. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type IncomingMigration, listen, migrate, type OutgoingMigration, StressGuest } from '#lib/index.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads, until } from '../../testing/native-thread.ts';

const capabilities = { postcopyRam: true, postcopyPreempt: true };
/** So seldom at a missing page, and with so little in the background, that it is not whole before the last pause. */
const memory = 32 * 2 ** 20;
const writesPerSecond = 1000;
const SLOW = 2 * 2 ** 20;

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(async () => {
  await until('its threads are gone', () => countThreads('mig/') === 0);
  expect(leaks()).toEqual({});
});

async function move(
  meanwhile: (outgoing: OutgoingMigration, incoming: IncomingMigration) => Promise<void>,
): Promise<void> {
  using source = await StressGuest.create({ memory, vcpus: 2, writesPerSecond });
  using target = StressGuest.empty({ memory, vcpus: 2 });
  await source.start();
  const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities });
  const outgoing = await migrate(source, incoming.uri, {
    capabilities,
    parameters: { maxPostcopyBandwidth: SLOW },
    postcopyAfterPasses: 0,
  });
  await meanwhile(outgoing, incoming);
  outgoing.setParameters({ maxPostcopyBandwidth: 0 });
  const [, { faults, ram }] = await Promise.all([outgoing.finished, incoming.finished]);
  expect(faults.count).toBeGreaterThan(0);
  expect(ram.postcopyRequestsServed).toBeGreaterThan(0);
  await target.stop();
  expect(await target.verify()).toMatchObject({ lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0 });
}

test('moves', () =>
  move((_outgoing, incoming) => until('a page comes', () => incoming.info().ram.postcopyRequestsServed > 0)));

test('pauses and recovers, three times', () =>
  move(async (outgoing, incoming) => {
    for (let round = 0; round < 3; round += 1) {
      const served = incoming.info().ram.postcopyRequestsServed;
      // A page may be counted before this side has heard that the guest runs.
      await until('both are in postcopy, and pages come', () => {
        const areActive = [outgoing.status, incoming.status].every((status) => status === 'postcopy-active');
        return areActive && incoming.info().ram.postcopyRequestsServed > served;
      });
      expect(round % 2 === 0 ? incoming.pause() : outgoing.pause()).toBe(true);
      await until('both have paused', () =>
        [outgoing.status, incoming.status].every((status) => status === 'postcopy-paused'),
      );
      await outgoing.recover(await incoming.recover());
      await until('it goes on', () => incoming.status === 'postcopy-active');
    }
  }));
