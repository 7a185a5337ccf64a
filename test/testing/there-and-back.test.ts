/** A guest that moves there and back, and one that does not hold what it must. */
import { expect, test } from 'vitest';
import { StressGuest } from '#lib/index.js';
import { type GuestKit, thereAndBack } from '#lib/testing/index.js';

const memory = 16 * 2 ** 20;

const kit: GuestKit<StressGuest> = {
  create: () => StressGuest.create({ memory, vcpus: 2, writesPerSecond: 50_000 }),
  empty: async () => StressGuest.empty({ memory }),
  verify: async (guest) => {
    const { lostWrites, badPages } = await guest.verify();
    if (lostWrites > 0 || badPages.length > 0) throw new Error(`${lostWrites} writes lost`);
  },
  progress: async (guest) => {
    const before = guest.stats.writesHere;
    while (guest.stats.writesHere === before) await new Promise((resolve) => setImmediate(resolve));
  },
  close: (guest) => guest.close(),
};

test('the stress guest moves there and back ten times', async () => {
  const moves = await thereAndBack(kit);
  expect(moves).toHaveLength(20);
  for (const { outgoing, incoming } of moves) {
    expect(outgoing.status).toBe('completed');
    expect(incoming.postcopy).toBe(true);
  }
});

test('a guest that does not pass its check ends it', async () => {
  const closed: StressGuest[] = [];
  const failing: GuestKit<StressGuest> = {
    ...kit,
    verify: () => Promise.reject(new Error('not what it was')),
    close: (guest) => {
      closed.push(guest);
      guest.close();
    },
  };
  await expect(thereAndBack(failing, { times: 1 })).rejects.toThrow('not what it was');
  expect(closed).toHaveLength(2);
});
