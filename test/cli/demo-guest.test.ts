/** The guests of the demo: made, run, checked, and made empty. */
import { expect, test } from 'vitest';
import { demoGuestNames, demoGuests } from '#lib/cli/demo-guest.js';
import { demoSettings } from '../../testing/demo-parts.ts';

test.each(demoGuestNames)(
  '%s: a filled guest writes and holds what it wrote; an empty one has its blocks',
  async (name) => {
    const settings = { ...demoSettings, guest: name, memory: 4 * 2 ** 20 };
    const guest = await demoGuests[name].create(settings);
    const empty = await demoGuests[name].empty(settings);
    try {
      await guest.start();
      while (guest.stats.writesHere === 0) await new Promise((resolve) => setImmediate(resolve));
      await guest.stop();
      expect(await guest.verify()).toMatchObject({ lostWrites: 0, badPages: [] });
      const blocksOf = ({ ramBlocks }: typeof guest) => ramBlocks.map(({ idstr, size }) => [idstr, size]);
      expect(blocksOf(empty)).toEqual(blocksOf(guest));
    } finally {
      guest.close();
      empty.close();
    }
  },
);
