/** Pages to ask for, with neighbours as one range: against a set of pages. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RequestRanges } from '#lib/destination/request-ranges.js';

test('nothing, one, and what touches', () => {
  const ranges = new RequestRanges();
  expect(ranges.take()).toEqual([]);
  ranges.add(1, 4, 5);
  expect(ranges.take()).toEqual([{ blockIndex: 1, first: 4, end: 5 }]);
  expect(ranges.take()).toEqual([]);
  for (const page of [9, 7, 8, 20]) ranges.add(0, page, page + 1);
  ranges.add(1, 21, 22); // next to it only by number
  expect(ranges.take()).toEqual([
    { blockIndex: 0, first: 7, end: 10 },
    { blockIndex: 0, first: 20, end: 21 },
    { blockIndex: 1, first: 21, end: 22 },
  ]);
});

test('has the pages of all that were added, in as few ranges as can be (property)', () => {
  const range = fc.tuple(fc.nat(1), fc.nat(60), fc.integer({ min: 1, max: 8 }));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 40 }), (added) => {
      const ranges = new RequestRanges();
      const pages = new Set<number>();
      for (const [block, first, count] of added) {
        ranges.add(block, first, first + count);
        for (let page = first; page < first + count; page += 1) pages.add(block * 1000 + page);
      }
      const sorted = [...pages].sort((one, other) => one - other);
      const starts = sorted.filter((page) => !pages.has(page - 1));
      const taken = ranges.take();
      expect(taken.map(({ blockIndex, first }) => blockIndex * 1000 + first)).toEqual(starts);
      const all = taken.flatMap(({ blockIndex, first, end }) =>
        Array.from({ length: end - first }, (_, index) => blockIndex * 1000 + first + index),
      );
      expect(all).toEqual(sorted);
    }),
  );
});
