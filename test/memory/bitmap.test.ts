/** PageBitmap against a set of numbers, its layout for native code, and two threads in one word. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { onLibThread } from '../../testing/lib-thread.ts';

type Step =
  | { readonly op: 'set' | 'clear' | 'test' | 'findNext' | 'findNextClear'; readonly page: number }
  | { readonly op: 'setRange' | 'clearRange'; readonly page: number; readonly count: number }
  | { readonly op: 'setAll' | 'count' };

/** Sizes around word ends, and a size with steps inside it. */
const scenario = fc
  .oneof(fc.constantFrom(1, 31, 32, 33, 63, 64, 65, 96), fc.integer({ min: 1, max: 200 }))
  .chain((size) => {
    const page = fc.integer({ min: 0, max: size - 1 });
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ op: fc.constantFrom('set' as const, 'clear' as const, 'test' as const), page }),
      fc.record({
        op: fc.constantFrom('findNext' as const, 'findNextClear' as const),
        page: fc.integer({ min: 0, max: size + 40 }),
      }),
      page.chain((first) =>
        fc.record({
          op: fc.constantFrom('setRange' as const, 'clearRange' as const),
          page: fc.constant(first),
          count: fc.integer({ min: 0, max: size - first }),
        }),
      ),
      fc.record({ op: fc.constantFrom('setAll' as const, 'count' as const) }),
    );
    return fc.record({ size: fc.constant(size), steps: fc.array(step, { maxLength: 60 }) });
  });

/** What a set says a step should return; performs it on the set. */
function perform(model: Set<number>, size: number, step: Step): number | boolean | undefined {
  const firstFrom = (from: number, wanted: boolean): number => {
    for (let page = from; page < size; page += 1) if (model.has(page) === wanted) return page;
    return size;
  };
  switch (step.op) {
    case 'set': {
      const was = model.has(step.page);
      model.add(step.page);
      return !was;
    }
    case 'clear':
      return model.delete(step.page);
    case 'test':
      return model.has(step.page);
    case 'findNext':
      return firstFrom(step.page, true);
    case 'findNextClear':
      return firstFrom(step.page, false);
    case 'setRange':
    case 'clearRange':
      for (let page = step.page; page < step.page + step.count; page += 1) {
        if (step.op === 'setRange') model.add(page);
        else model.delete(page);
      }
      return undefined;
    case 'setAll':
      for (let page = 0; page < size; page += 1) model.add(page);
      return undefined;
    case 'count':
      return model.size;
  }
}

function performOnBitmap(bitmap: PageBitmap, step: Step): number | boolean | undefined {
  switch (step.op) {
    case 'setRange':
    case 'clearRange':
      bitmap[step.op](step.page, step.count);
      return undefined;
    case 'setAll':
      bitmap.setAll();
      return undefined;
    case 'count':
      return bitmap.count();
    default:
      return bitmap[step.op](step.page);
  }
}

const pagesOf = (bitmap: PageBitmap): number[] =>
  Array.from({ length: bitmap.pageCount }, (_, page) => page).filter((page) => bitmap.test(page));

test('does what a set of page numbers does (property)', () => {
  fc.assert(
    fc.property(scenario, ({ size, steps }) => {
      const bitmap = new PageBitmap(size);
      const model = new Set<number>();
      for (const step of steps) {
        expect(performOnBitmap(bitmap, step), JSON.stringify(step)).toBe(perform(model, size, step));
      }
      expect(pagesOf(bitmap)).toEqual([...model].sort((a, b) => a - b));
      expect(bitmap.count()).toBe(model.size); // no bit beyond the last page
    }),
    { numRuns: 500 },
  );
});

test('bit i of word i >> 5 is page i, as native code writes it', () => {
  const bitmap = new PageBitmap(70);
  for (const page of [0, 31, 32, 69]) bitmap.set(page);
  expect([...bitmap.words]).toEqual([0x80000001, 1, 1 << 5]);
});

describe('as text', () => {
  const of = (pages: readonly number[]): PageBitmap => {
    const bitmap = new PageBitmap(100);
    for (const page of pages) bitmap.set(page);
    return bitmap;
  };

  test.each([
    ['no page', [], 4, 'none'],
    ['no page and no room', [], 0, 'none'],
    ['pages and runs', [3, 7, 8, 9, 31, 32, 33, 99], 4, '3, 7-9, 31-33, 99'],
    ['more than there is room for', [0, 2, 4, 6, 7], 2, '0, 2, and 2 more'],
    ['no room', [5, 6, 9], 0, 'and 2 more'],
  ] as const)('%s', (_what, pages, limit, expected) => {
    expect(of(pages).describeRanges(limit)).toBe(expected);
  });

  test('says which pages are set (property)', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 99 }), { minLength: 1 }), (pages) => {
        const said = of(pages)
          .describeRanges(100)
          .split(', ')
          .flatMap((range) => {
            const [first, last = first] = range.split('-').map(Number);
            return Array.from({ length: last - first + 1 }, (_, i) => first + i);
          });
        expect(said).toEqual([...pages].sort((a, b) => a - b));
      }),
    );
  });
});

describe('a bitmap over an existing buffer', () => {
  test('shows the same bits', () => {
    const one = new PageBitmap(40);
    const other = new PageBitmap(40, one.buffer);
    one.set(39);
    expect(other.test(39)).toBe(true);
    other.clear(39);
    expect(one.count()).toBe(0);
  });

  test.each([
    ['smaller', 4],
    ['larger', 12],
  ])('is refused when the buffer is %s than the pages take', (_what, bytes) => {
    expect(() => new PageBitmap(40, new SharedArrayBuffer(bytes))).toThrow(RangeError);
  });
});

test('two threads that own different bits of one word never disturb each other', async () => {
  const ROUNDS = 100_000;
  const { buffer } = new PageBitmap(32);
  const gate = new SharedArrayBuffer(4);
  const threads = [0, 1].map((own) =>
    onLibThread(
      `test/bits-${own}`,
      { bitmap: '#lib/memory/bitmap.js' },
      { buffer, gate, own, rounds: ROUNDS },
      (lib: { bitmap: typeof import('#lib/memory/bitmap.js') }, data) => {
        const bits = new lib.bitmap.PageBitmap(32, data.buffer);
        const ready = new Int32Array(data.gate);
        Atomics.add(ready, 0, 1);
        while (Atomics.load(ready, 0) < 2);
        let disturbed = 0;
        for (let round = 0; round < data.rounds; round += 1) {
          const page = ((round * 2) % 32) + data.own;
          if (!bits.set(page) || !bits.test(page) || !bits.clear(page) || bits.test(page)) disturbed += 1;
        }
        return disturbed;
      },
    ),
  );
  expect(await Promise.all(threads.map(({ result }) => result))).toEqual([0, 0]);
  expect(new PageBitmap(32, buffer).count()).toBe(0);
});

test('counts what another does not have, and moves all to it (property)', () => {
  const pages = fc.array(fc.integer({ min: 0, max: 99 }));
  fc.assert(
    fc.property(pages, pages, (ours, theirs) => {
      const [one, other] = [new PageBitmap(100), new PageBitmap(100)];
      for (const page of ours) one.set(page);
      for (const page of theirs) other.set(page);
      expect(one.countWithout(other)).toBe(new Set(ours.filter((page) => !theirs.includes(page))).size);
      one.moveTo(other);
      expect([one.count(), other.count()]).toEqual([0, new Set([...ours, ...theirs]).size]);
    }),
  );
});
