/** The map of a block's pages: against a count page by page, and for a guest of 64 GiB. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type BlockMap, cellsOf, mapArriving, mapSent, type PageState } from '#lib/dashboard/page-map.js';
import { PageBitmap } from '#lib/memory/bitmap.js';

const bitmapOf = (pages: number, is: (page: number) => boolean) => {
  const bitmap = new PageBitmap(pages);
  for (let page = 0; page < pages; page += 1) if (is(page)) bitmap.set(page);
  return bitmap;
};

type StateOf = (page: number) => PageState | undefined;

/** Against a count page by page. */
function expectTrue({ pages, pagesPerCell, states }: BlockMap, stateOf: StateOf, names: readonly PageState[]): void {
  expect(Object.keys(states)).toEqual(names);
  expect(Math.ceil(pages / pagesPerCell)).toBeLessThanOrEqual(4096);
  const totals = new Map<PageState | undefined, number>();
  const wrong: string[] = [];
  for (let cell = 0; cell * pagesPerCell < pages; cell += 1) {
    const first = cell * pagesPerCell;
    const size = Math.min(pagesPerCell, pages - first);
    const counts = new Map<PageState | undefined, number>();
    for (let page = first; page < first + size; page += 1) {
      for (const map of [counts, totals]) map.set(stateOf(page), (map.get(stateOf(page)) ?? 0) + 1);
    }
    let sum = 0;
    for (const state of names) {
      const count = counts.get(state) ?? 0;
      const share = Number.parseInt(states[state]?.shares[cell] ?? '', 16);
      sum += share;
      const isFit = share > 0 === count > 0 && Math.abs(share - (count * 15) / size) < 4;
      if (!isFit || (share === 15) !== (count === size)) wrong.push(`${cell} ${state}: ${share}, ${count} of ${size}`);
    }
    if ((sum === 15) !== !counts.has(undefined)) wrong.push(`${cell}: ${sum} in all`);
  }
  expect(wrong).toEqual([]);
  expect(names.map((state) => states[state]?.pages)).toEqual(names.map((state) => totals.get(state) ?? 0));
}

test('is that of a count page by page, at both sides (property)', () => {
  const flag = fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 64, maxLength: 64 });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20_000 }), flag, (pages, flags) => {
      const has = (bit: number) => (page: number) => ((flags[(page * 7 + (page >>> 5)) % 64] >>> bit) & 1) === 1;
      const [received, requested, discarded, faulted] = [has(0), has(1), has(2), has(3)];
      const [map] = mapArriving([
        {
          idstr: 'a',
          received: bitmapOf(pages, received),
          requested: bitmapOf(pages, requested),
          discarded: bitmapOf(pages, discarded),
          faulted: bitmapOf(pages, faulted),
        },
      ]);
      const arriving = (page: number) => {
        if (received(page)) return faulted(page) ? 'faulted' : 'background';
        if (requested(page)) return 'waiting';
        return discarded(page) ? 'discarded' : undefined;
      };
      expectTrue(map, arriving, ['background', 'faulted', 'discarded', 'waiting']);
      const [sent] = mapSent([{ idstr: 'a', dirty: bitmapOf(pages, received), asked: bitmapOf(pages, requested) }]);
      const going = (page: number) =>
        requested(page) ? (received(page) ? 'asked' : 'answered') : received(page) ? undefined : 'sent';
      expectTrue(sent, going, ['sent', 'answered', 'asked']);
    }),
    { numRuns: 30 },
  );
});

test('one page that waits shows among a million', () => {
  const pages = 1 << 20;
  const none = new PageBitmap(pages);
  const requested = new PageBitmap(pages);
  requested.set(777_777);
  const [map] = mapArriving([{ idstr: 'a', received: none, requested, discarded: none, faulted: none }]);
  expect(map.states.waiting?.pages).toBe(1);
  expect(map.states.waiting?.shares).toMatch(/^0*10*$/);
  expect(map.states.waiting?.shares.indexOf('1')).toBe(Math.floor(777_777 / map.pagesPerCell));
});

test('a guest of 64 GiB takes milliseconds, and no more to send than a small one', () => {
  const pages = 2 ** 24;
  const bitmap = (value: number) => {
    const made = new PageBitmap(pages);
    made.words.fill(value);
    return made;
  };
  const guest = {
    idstr: 'pc.ram',
    received: bitmap(0x0ff0f00f),
    requested: bitmap(0x10001000),
    discarded: bitmap(0xf0000001),
    faulted: bitmap(0x00aa0000),
  };
  const timed = (): [number, readonly BlockMap[]] => {
    const began = process.cpuUsage();
    const made = mapArriving([guest]);
    const { user, system } = process.cpuUsage(began);
    return [(user + system) / 1000, made];
  };
  timed(); // compiles it
  const [[first, map], [second]] = [timed(), timed()];
  expect(Math.min(first, second)).toBeLessThan(100); // some 20 ms on a quiet machine
  expect(JSON.stringify(map).length).toBeLessThan(20_000);
  expect(map[0].pagesPerCell).toBe(4096);
});

test('cells are shared among blocks by size, and each has some', () => {
  const many = cellsOf([2 ** 20, 2 ** 20, 2 ** 20, 2 ** 20, 100]);
  expect(many.slice(0, 4)).toEqual([2047, 2047, 2047, 2047]);
  expect(many[4]).toBe(64);
  expect(cellsOf([2 ** 24])).toEqual([4096]);
});
