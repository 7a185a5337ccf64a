/** A guest that moves there and back, and one that does not hold what it must. */
import { expect, test } from 'vitest';
import type { StressGuest } from '#lib/index.js';
import { type GuestKit, thereAndBack } from '#lib/testing/index.js';
import { stressKit } from '../../testing/stress-kit.ts';

test('the stress guest moves there and back ten times', async () => {
  const moves = await thereAndBack(stressKit);
  expect(moves).toHaveLength(20);
  for (const { outgoing, incoming } of moves) {
    expect(outgoing.status).toBe('completed');
    expect(incoming.postcopy).toBe(true);
  }
});

test('a guest that does not pass its check ends it', async () => {
  const closed: StressGuest[] = [];
  const failing: GuestKit<StressGuest> = {
    ...stressKit,
    verify: () => Promise.reject(new Error('not what it was')),
    close: (guest) => {
      closed.push(guest);
      guest.close();
    },
  };
  await expect(thereAndBack(failing, { times: 1 })).rejects.toThrow('not what it was');
  expect(closed).toHaveLength(2);
});
