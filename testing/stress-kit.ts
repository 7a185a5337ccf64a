/** The test kit's view of the stress guest, for the guest itself and for those that are made of it. */
import { StressGuest } from '#lib/index.js';
import type { GuestKit } from '#lib/testing/index.js';
import { until } from './native-thread.ts';

const memory = 4 * 2 ** 20;

/** Device states that are good but for one thing: the version, the size of RAM. */
function foreignStates(state: Uint8Array): Uint8Array[] {
  const other = (at: number) => {
    const copy = state.slice();
    copy[at] ^= 1;
    return copy;
  };
  return [other(0), other(4), other(8)];
}

export const stressKit: GuestKit<StressGuest> = {
  create: () => StressGuest.create({ memory, vcpus: 2, writesPerSecond: 50_000 }),
  empty: async () => StressGuest.empty({ memory }),
  verify: async (guest) => {
    const { badPages } = await guest.verify();
    const bad = badPages.length + guest.stats.badPages;
    if (bad > 0) throw new Error(`${bad} pages are not what they must be`);
  },
  progress: async (guest) => {
    const before = guest.stats.writesHere;
    await until('it writes', () => {
      if (!guest.running) throw new Error('it does not run');
      return guest.stats.writesHere >= before + 20;
    });
  },
  close: (guest) => guest.close(),
  work: (guest) => guest.stats.writesHere,
  foreignStates,
};
