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

/** The same map, page by page. */
function slowMap(
  pages: number,
  pagesPerCell: number,
  stateOf: (page: number) => PageState | undefined,
  states: PageState[],
) {
  const cells = Math.ceil(pages / pagesPerCell);
  return Object.fromEntries(
    states.map((state) => {
      let total = 0;
      let shares = '';
      for (let cell = 0; cell < cells; cell += 1) {
        const first = cell * pagesPerCell;
        const size = Math.min(pagesPerCell, pages - first);
        const count = Array.from({ length: size }, (_, i) => stateOf(first + i)).filter(
          (each) => each === state,
        ).length;
        total += count;
        shares += count === 0 ? '0' : count === size ? 'f' : (1 + Math.floor(((count - 1) * 14) / size)).toString(16);
      }
      return [state, { pages: total, shares }];
    }),
  );
}

const bits = fc.infiniteStream(fc.integer({ min: 0, max: 15 }));

test('is that of a count page by page, at both sides (property)', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20_000 }), bits, (pages, stream) => {
      const flags = Array.from({ length: 64 }, () => stream.next().value as number);
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
      expect(Math.ceil(pages / map.pagesPerCell)).toBeLessThanOrEqual(4096);
      const arriving = (page: number) => {
        if (received(page)) return faulted(page) ? 'faulted' : 'background';
        if (requested(page)) return 'waiting';
        return discarded(page) ? 'discarded' : undefined;
      };
      const states: PageState[] = ['background', 'faulted', 'discarded', 'waiting'];
      expect(map.states).toEqual(slowMap(pages, map.pagesPerCell, arriving, states));
      const [sent] = mapSent([{ idstr: 'a', dirty: bitmapOf(pages, received), asked: bitmapOf(pages, requested) }]);
      const going = (page: number) =>
        requested(page) ? (received(page) ? 'asked' : 'answered') : received(page) ? undefined : 'sent';
      expect(sent.states).toEqual(slowMap(pages, sent.pagesPerCell, going, ['sent', 'answered', 'asked']));
    }),
    { numRuns: 40 },
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
    const began = performance.now();
    const made = mapArriving([guest]);
    return [performance.now() - began, made];
  };
  timed(); // compiles it
  const [[first, map], [second]] = [timed(), timed()];
  expect(Math.min(first, second)).toBeLessThan(150); // some 20 ms on a quiet machine
  expect(JSON.stringify(map).length).toBeLessThan(20_000);
  expect(map[0].pagesPerCell).toBe(4096);
});

test('cells are shared among blocks by size, and each has some', () => {
  const many = cellsOf([2 ** 20, 2 ** 20, 2 ** 20, 2 ** 20, 100]);
  expect(many.slice(0, 4)).toEqual([2047, 2047, 2047, 2047]);
  expect(many[4]).toBe(64);
  expect(cellsOf([2 ** 24])).toEqual([4096]);
});
