/** Different pages, counted once each, in memory bounded by the budget. */
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { pieceBudget, SeenPages } from '#lib/inspect/seen-pages.js';

test('counts different pages, wherever they are', () => {
  const page = fc.oneof(fc.nat(200), fc.nat(2 ** 40));
  fc.assert(
    fc.property(fc.array(page, { maxLength: 300 }), (pages) => {
      const seen = new SeenPages(pieceBudget());
      for (const each of pages) seen.add(each);
      expect(seen.distinct).toBe(new Set(pages).size);
    }),
  );
});

test('gives up beyond the budget, which blocks share', () => {
  const budget = { left: 2 };
  const [one, other] = [new SeenPages(budget), new SeenPages(budget)];
  one.add(0);
  other.add(0);
  other.add(5);
  expect([one.distinct, other.distinct]).toEqual([1, 2]);
  one.add(2 ** 30);
  one.add(0);
  expect([one.distinct, other.distinct]).toEqual([null, 2]);
});
