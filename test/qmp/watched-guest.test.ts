/** A watched guest: its starts and stops are told once, and all else is the guest's own. */
import { afterEach, expect, test } from 'vitest';
import { StressGuest } from '#lib/index.js';
import { watched } from '#lib/qmp/watched-guest.js';

const guests: StressGuest[] = [];
afterEach(() => {
  for (const guest of guests.splice(0)) guest.close();
});

function watch(mayStart = () => true) {
  const guest = StressGuest.empty({ memory: 1024 * 1024 });
  guests.push(guest);
  const told: string[] = [];
  const seen = watched(guest, {
    mayStart,
    onStart: () => told.push('start'),
    onStop: () => told.push('stop'),
  });
  return { guest, seen, told };
}

test('it starts and stops, and each is told where it changes something', async () => {
  const { guest, seen, told } = watch();
  await seen.start();
  expect([guest.running, seen.running]).toEqual([true, true]);
  await seen.start();
  await seen.stop();
  await seen.stop();
  expect(guest.running).toBe(false);
  expect(told).toEqual(['start', 'stop']);
});

test('one that may not start does not', async () => {
  const { guest, seen, told } = watch(() => false);
  await seen.start();
  expect(guest.running).toBe(false);
  expect(told).toEqual([]);
});

test('all else is the guest’s', async () => {
  const { guest, seen } = watch();
  expect(seen.ramBlocks).toBe(guest.ramBlocks);
  expect('receive' in seen).toBe(false);
  seen.throttle(10);
  expect(await seen.saveDeviceState()).toEqual(await guest.saveDeviceState());
});
