/** Page arithmetic, also far above 32 bits, where bitwise operators would go wrong. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { alignDown, pageCount, pageIndexOf, pageOffset, TARGET_PAGE_SIZE } from '#lib/memory/page.js';

const pageIndex = fc.integer({ min: 0, max: 2 ** 40 });

test('a page begins at its offset and holds every byte up to the next (property)', () => {
  fc.assert(
    fc.property(pageIndex, fc.integer({ min: 0, max: TARGET_PAGE_SIZE - 1 }), (page, byte) => {
      expect(pageIndexOf(pageOffset(page) + byte)).toBe(page);
      expect(pageOffset(page + 1) - pageOffset(page)).toBe(TARGET_PAGE_SIZE);
    }),
  );
});

test('pageCount counts whole pages and refuses anything else (property)', () => {
  fc.assert(
    fc.property(pageIndex, fc.integer({ min: 1, max: TARGET_PAGE_SIZE - 1 }), (pages, rest) => {
      expect(pageCount(pages * TARGET_PAGE_SIZE)).toBe(pages);
      expect(() => pageCount(pages * TARGET_PAGE_SIZE + rest)).toThrow(RangeError);
    }),
  );
});

test('alignDown gives the largest multiple that is not above (property)', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 50 }), fc.constantFrom(4096, 2 ** 21, 2 ** 30), (offset, pageSize) => {
      const aligned = alignDown(offset, pageSize);
      expect(aligned % pageSize).toBe(0);
      expect(offset - aligned).toBeGreaterThanOrEqual(0);
      expect(offset - aligned).toBeLessThan(pageSize);
    }),
  );
});
