/** Only where every page of every block has come is nothing missing; else the error names them. */
import { expect, test } from 'vitest';
import { requireAllPages } from '#lib/destination/missing-pages.js';
import { PageBitmap } from '#lib/memory/bitmap.js';

const blocks = [{ idstr: 'pc.ram' }, { idstr: 'rom' }];

function all(pageCount: number): PageBitmap {
  const bitmap = new PageBitmap(pageCount);
  bitmap.setAll();
  return bitmap;
}

test('nothing is missing', () => {
  requireAllPages(blocks, [all(33), all(1)]);
});

test('what is missing is named: how many, of which block, which', () => {
  const ram = all(70);
  ram.clearRange(30, 4);
  ram.clear(69);
  expect(() => requireAllPages(blocks, [ram, new PageBitmap(1)])).toThrow(
    expect.objectContaining({
      code: 'PAGES_MISSING',
      message: 'the stream ended, and pages are missing, 5 of RAM block pc.ram: 30-33, 69; 1 of RAM block rom: 0',
    }),
  );
});

test('many ranges are cut short', () => {
  const ram = new PageBitmap(64);
  for (let page = 0; page < 64; page += 2) ram.set(page);
  expect(() => requireAllPages(blocks, [ram])).toThrow(/32 of RAM block pc.ram: 1, 3, .* and 24 more/);
});
