/** The files of marks: written and read back to the bit, and refused where they are not those of a block. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeMarks, encodeMarks, marksFile } from '#lib/machine/page-marks.js';
import { PageBitmap } from '#lib/memory/bitmap.js';

test('page n is bit n & 7 of byte n >> 3, and is read back (property)', () => {
  fc.assert(
    fc.property(
      fc
        .integer({ min: 1, max: 200 })
        .chain((count) => fc.record({ count: fc.constant(count), pages: fc.uniqueArray(fc.nat(count - 1)) })),
      ({ count, pages }) => {
        const marks = new PageBitmap(count);
        for (const page of pages) marks.set(page);
        const bytes = encodeMarks(marks);
        const expected = new Uint8Array(Math.ceil(count / 8));
        for (const page of pages) expected[page >> 3] |= 1 << (page & 7);
        expect(bytes).toEqual(expected);
        expect(decodeMarks(bytes, count, 'm').words).toEqual(marks.words);
      },
    ),
  );
});

test.each<[string, number[], RegExp]>([
  ['a byte too few', [0xff], /^dir\/m: has 1 bytes, where 12 pages take 2/],
  ['a byte too many', [0, 0, 0], /^dir\/m: has 3 bytes/],
  ['a page behind the last', [0xff, 0x10], /^dir\/m: marks a page behind the last of 12/],
])('%s is refused', (_what, bytes, message) => {
  const read = () => decodeMarks(Uint8Array.from(bytes), 12, 'dir/m');
  expect(read).toThrow(expect.objectContaining({ code: 'MACHINE_INVALID' }));
  expect(read).toThrow(message);
});

test('they are beside the blocks', () => {
  expect(marksFile('remainder', '00-pc.ram.ram')).toBe('remainder/00-pc.ram.ram.bitmap');
});
