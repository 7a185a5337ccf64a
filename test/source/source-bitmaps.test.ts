/** The bitmaps of a source: shared by its threads, and what a received bitmap makes of them. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TARGET_PAGE_SIZE } from '#lib/memory/page.js';
import { SourceBitmaps } from '#lib/source/source-bitmaps.js';

const setOf = (bitmap: { pageCount: number; test(page: number): boolean }) =>
  Array.from({ length: bitmap.pageCount }, (_, page) => page).filter((page) => bitmap.test(page));

test('another thread sees the same bits', () => {
  const sizes = [3 * TARGET_PAGE_SIZE, 70 * TARGET_PAGE_SIZE];
  const here = new SourceBitmaps(sizes);
  const there = new SourceBitmaps(sizes, structuredClone(here.descriptor));
  here.dirty[1].set(69);
  there.received[0].set(2);
  there.unconfirmed[0].set(1);
  expect([setOf(there.dirty[1]), setOf(here.received[0]), setOf(here.unconfirmed[0])]).toEqual([[69], [2], [1]]);
});

test('what was not received is dirty, and only that, whatever was dirty before (property)', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 3 });
  const bits = fc.array(fc.nat({ max: 199 }));
  fc.assert(
    fc.property(sizes, bits, bits, (pages, received, dirty) => {
      const bitmaps = new SourceBitmaps(pages.map((count) => count * TARGET_PAGE_SIZE));
      for (const [index, count] of pages.entries()) {
        for (const page of received) if (page < count) bitmaps.received[index].set(page);
        for (const page of dirty) if (page < count) bitmaps.dirty[index].set(page);
      }
      bitmaps.takeReceived();
      bitmaps.markUnconfirmed();
      for (const [index, count] of pages.entries()) {
        const missing = Array.from({ length: count }, (_, page) => page).filter((page) => !received.includes(page));
        expect(setOf(bitmaps.dirty[index])).toEqual(missing);
        expect(bitmaps.dirty[index].count()).toBe(missing.length); // no bit behind the last page
        expect(setOf(bitmaps.unconfirmed[index])).toEqual(missing);
      }
    }),
  );
});
