/** The dirty rate, told the time: periods of at least a second that end with a sync. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DirtyRate } from '#lib/source/dirty-rate.js';

test('a period lasts a second at least, and holds what all of its syncs found', () => {
  const rate = new DirtyRate(5000, 100);
  expect(rate.count(5400, 10, 200)).toBeUndefined();
  expect(rate.count(5999, 10, 300)).toBeUndefined();
  expect(rate.count(7000, 20, 1100)).toEqual({
    pagesPerSecond: 20,
    dirtiedBytes: 40 * 4096,
    transferredBytes: 1000,
  });
  expect(rate.count(7999, 5, 1200)).toBeUndefined();
  expect(rate.count(8000, 0, 1300)).toEqual({ pagesPerSecond: 5, dirtiedBytes: 5 * 4096, transferredBytes: 200 });
});

test('no page and no byte is counted twice or not at all (property)', () => {
  const syncs = fc.array(fc.tuple(fc.nat(2500), fc.nat(1000), fc.nat(1_000_000)), { minLength: 1, maxLength: 30 });
  fc.assert(
    fc.property(syncs, (steps) => {
      const rate = new DirtyRate(0, 0);
      let [now, bytes, pages, dirtied, transferred] = [0, 0, 0, 0, 0];
      for (const [elapsed, found, sent] of [...steps, [1000, 0, 0]]) {
        now += elapsed;
        bytes += sent;
        pages += found;
        const period = rate.count(now, found, bytes);
        dirtied += period?.dirtiedBytes ?? 0;
        transferred += period?.transferredBytes ?? 0;
      }
      expect([dirtied, transferred]).toEqual([pages * 4096, bytes]);
    }),
  );
});
