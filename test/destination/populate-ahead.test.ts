/** What is populated ahead of a precopy's pages, and what is not. */
import { afterEach, expect, test } from 'vitest';
import { PopulateAhead } from '#lib/destination/populate-ahead.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';

const MIB = 2 ** 20;
const PAGE = 4096;
const RUN = 64 * PAGE;

const block = RAMBlock.create({ idstr: 'ram', size: 24 * MIB + PAGE, kind: 'memfd' });
const other = RAMBlock.create({ idstr: 'other', size: 24 * MIB, kind: 'memfd' });
afterEach(() => native().ramBlockDiscard(block.handle, Float64Array.of(0, block.size), 1));

/** A source that sends, and what was populated for it, in MiB of each block. */
function sending() {
  const populated: [idstr: string, offset: number, length: number][] = [];
  const ahead = new PopulateAhead([block, other], ({ idstr }, offset, length) => {
    populated.push([idstr, offset / MIB, length / MIB]);
  });
  /** All pages from `start` to `end` MiB, in runs; every `zeroes`th run is one of zeroes. */
  const sends = (index: number, start: number, end: number, zeroes = Number.POSITIVE_INFINITY) => {
    for (let at = start * MIB, run = 1; at < end * MIB; at += RUN, run += 1) {
      ahead.came(index, at + RUN - PAGE, RUN, run % zeroes !== 0);
    }
  };
  return { populated, sends };
}

test('behind a dense step the next four, each once, up to the end of the block', () => {
  const { populated, sends } = sending();
  sends(0, 0, 2);
  expect(populated).toEqual([]);
  sends(0, 2, 2.5);
  expect(populated).toEqual([4, 6, 8, 10].map((offset) => ['ram', offset, 2]));
  sends(0, 2.5, 24);
  expect(populated.map(([, offset]) => offset)).toEqual([4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24]);
  expect(populated.at(-1)).toEqual(['ram', 24, PAGE / MIB]);
  sends(0, 0, 24); // another pass
  expect(populated).toHaveLength(11);
});

test('nothing behind zeroes, behind pages here and there, or in another block', () => {
  const { populated, sends } = sending();
  sends(0, 0, 4, 1); // all zero
  sends(0, 4, 6);
  sends(1, 6, 6.5); // dense, but not behind it
  sends(0, 8, 8.25); // a quarter of a step
  sends(0, 10, 10.25);
  sends(0, 12, 12.25);
  expect(populated).toEqual([]);
});

test('also where every second run is of zeroes, and not where more are', () => {
  const half = sending();
  half.sends(0, 0, 3, 2);
  expect(half.populated).not.toEqual([]);
  const less = sending();
  for (let at = 0; at < 3; at += 1) {
    less.sends(0, at, at + 0.25);
    less.sends(0, at + 0.25, at + 1, 1);
  }
  expect(less.populated).toEqual([]);
});

test('real memory is there then, as zeroes', async () => {
  const { constants, countPages, ramBlockPopulate } = native();
  const present = () => countPages(block.handle, 0, block.size, constants.PAGE_IS_PRESENT);
  expect(present()).toBe(0);
  await ramBlockPopulate(block.handle, 2 * MIB, 2 * MIB);
  expect(present()).toBe(512);
  expect(block.bytes().every((byte) => byte === 0)).toBe(true);
});

test('what is there already stays as it is, and a range that is none is refused', async () => {
  const { ramBlockPopulate, ramBlockWrite } = native();
  ramBlockWrite(block.handle, 0, Uint8Array.of(7));
  await ramBlockPopulate(block.handle, 0, 2 * MIB);
  expect(block.bytes()[0]).toBe(7);
  expect(() => ramBlockPopulate(block.handle, 0, 48 * MIB)).toThrow(RangeError);
  expect(() => ramBlockPopulate(block.handle, 1, PAGE)).toThrow(/offset/);
});
