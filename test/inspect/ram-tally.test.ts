/** Pages counted by block and kind. */
import { expect, test } from 'vitest';
import { noPages, RamTally } from '#lib/inspect/ram-tally.js';

test('counts records by kind, different pages, and discards', () => {
  const tally = new RamTally();
  tally.addBlock({ index: 0, idstr: 'pc.ram', usedLength: 8 * 4096, pageSize: 2 ** 21, address: 0 });
  tally.addBlock({ index: 1, idstr: 'rom', usedLength: 4096 });
  tally.page(0, 0, 'normal');
  tally.page(0, 0, 'xbzrle');
  tally.page(0, 4096, 'zero');
  tally.pageOf('rom', 0, 'compressed');
  tally.discard('pc.ram', 2, 12_288);
  tally.discard('pc.ram', 1, 4096);
  expect(tally.blocks()).toEqual([
    {
      idstr: 'pc.ram',
      usedLength: 8 * 4096,
      pageSize: 2 ** 21,
      address: 0,
      pages: 8,
      distinct: 2,
      records: { normal: 1, zero: 1, xbzrle: 1, compressed: 0 },
      discards: { ranges: 3, bytes: 16_384 },
    },
    {
      idstr: 'rom',
      usedLength: 4096,
      pageSize: null,
      address: null,
      pages: 1,
      distinct: 1,
      records: { ...noPages(), compressed: 1 },
      discards: { ranges: 0, bytes: 0 },
    },
  ]);
  expect(tally.pages).toEqual({ normal: 1, zero: 1, xbzrle: 1, compressed: 1 });
});

test('counts pages of another size, and blocks that no list has', () => {
  const tally = new RamTally();
  tally.targetPageSize = 16_384;
  tally.pageOf('pc.ram', 16_384, 'normal');
  tally.pageOf('pc.ram', 32_768, 'normal');
  expect(tally.blocks()).toMatchObject([{ idstr: 'pc.ram', usedLength: null, pages: null, distinct: 2 }]);
});
