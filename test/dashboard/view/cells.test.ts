/** The cells of a page map: how they are divided, what is said of them, and where keys lead. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BlockMap } from '#lib/dashboard/page-map.js';
import { cellAfter, cellCount, cellText, partsOf } from '#lib/dashboard/view/cells.js';

const states = (shares: Record<string, string>) =>
  Object.fromEntries(Object.entries(shares).map(([state, each]) => [state, { pages: 1, shares: each }]));
const map: BlockMap = {
  idstr: 'pc.ram',
  pages: 4 * 1024 - 1,
  pagesPerCell: 1024,
  states: states({ background: 'f180', faulted: '0170', discarded: '0000', waiting: '0001' }),
};

describe('the parts of a cell', () => {
  test('all of one state, some of it, and one page that waits', () => {
    expect(partsOf(map, 0, 7)).toEqual([['background', 7]]);
    expect(partsOf(map, 1, 7)).toEqual([
      ['background', 1],
      ['faulted', 1],
      ['none', 5],
    ]);
    expect(partsOf(map, 2, 7)).toEqual([
      ['background', 4],
      ['faulted', 3],
    ]);
    expect(partsOf(map, 3, 7)).toEqual([
      ['waiting', 1],
      ['none', 6],
    ]);
  });

  test('are all of its pixels, and each state has one (property)', () => {
    const digit = fc.integer({ min: 0, max: 15 }).map((value) => value.toString(16));
    fc.assert(
      fc.property(digit, digit, digit, digit, (background, faulted, discarded, waiting) => {
        fc.pre(
          [background, faulted, discarded, waiting].reduce((sum, each) => sum + Number.parseInt(each, 16), 0) <= 15,
        );
        const any = { ...map, states: states({ background, faulted, discarded, waiting }) };
        const parts = partsOf(any, 0, 7);
        expect(parts.reduce((sum, [, pixels]) => sum + pixels, 0)).toBe(7);
        expect(parts.every(([, pixels]) => pixels >= 1)).toBe(true);
        for (const [state, { shares }] of Object.entries(any.states)) {
          expect(parts.some(([part]) => part === state)).toBe(shares !== '0');
        }
      }),
    );
  });
});

test('a cell in a sentence', () => {
  expect(cellText(map, 0)).toBe('pc.ram, pages 0 to 1,023 (from 0 B): all received in background');
  expect(cellText(map, 2)).toBe(
    'pc.ram, pages 2,048 to 3,071 (from 8 MiB): about 53 % received in background, about 47 % faulted for',
  );
  expect(cellText(map, 3)).toBe('pc.ram, pages 3,072 to 4,094 (from 12 MiB): about 7 % waiting now');
  const single: BlockMap = { idstr: 'a', pages: 2, pagesPerCell: 1, states: states({ sent: 'f0', answered: '00' }) };
  expect(cellText(single, 0)).toBe('a, page 0 (from 0 B): sent');
  expect(cellText(single, 1)).toBe('a, page 1 (from 4 KiB): still to be sent');
});

test('keys lead from cell to cell, and not out of the map', () => {
  expect(cellCount(map)).toBe(4);
  const after = (key: string, cell: number) => cellAfter(key, cell, 10, 95);
  expect(['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown'].map((key) => after(key, 42))).toEqual([41, 43, 32, 52]);
  expect(['Home', 'End', 'PageUp', 'PageDown'].map((key) => after(key, 42))).toEqual([0, 94, 0, 94]);
  expect([after('ArrowLeft', 0), after('ArrowDown', 90), after('Tab', 5), after('toString', 5)]).toEqual([
    0,
    94,
    undefined,
    undefined,
  ]);
});
