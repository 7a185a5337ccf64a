/** The page search against a model over sets: requests first, then the scan, round and round over all blocks. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { canonicalize } from '#lib/source/discard-bitmap.js';
import { PageRequestQueue } from '#lib/source/page-request-queue.js';
import { createPageBatch, type PageBatch, PageSearch } from '#lib/source/page-search.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';

interface Taken {
  readonly blockIndex: number;
  readonly pages: number[];
  readonly urgent: boolean;
}

interface Request {
  readonly blockIndex: number;
  readonly firstPage: number;
  readonly pageCount: number;
}

/** What the search should do, in terms of sets. */
class Model {
  readonly dirty: readonly Set<number>[];
  readonly requests: Request[] = [];
  /** What is left of the request that was begun. */
  #begun: Request | undefined;
  readonly #sizes: readonly number[];
  readonly #capacity: number;
  /** Where the scan goes on: at this page of this block, or behind the block's last. */
  #block = 0;
  #page = 0;

  constructor(sizes: readonly number[], capacity: number) {
    this.dirty = sizes.map(() => new Set());
    this.#sizes = sizes;
    this.#capacity = capacity;
  }

  next(limit: number): Taken | undefined {
    return this.#requested() ?? this.#scanned(limit);
  }

  /** The oldest request and what goes on from it. */
  #oldest(): Request | undefined {
    const first = this.requests.shift();
    if (first === undefined) return undefined;
    let end = first.firstPage + first.pageCount;
    for (let next = this.requests.at(0); next !== undefined; next = this.requests.at(0)) {
      if (next.blockIndex !== first.blockIndex || next.firstPage < first.firstPage || next.firstPage > end) break;
      end = Math.max(end, next.firstPage + next.pageCount);
      this.requests.shift();
    }
    return { ...first, pageCount: end - first.firstPage };
  }

  #requested(): Taken | undefined {
    for (;;) {
      const request = this.#begun ?? this.#oldest();
      this.#begun = undefined;
      if (request === undefined) return undefined;
      const { blockIndex, firstPage, pageCount } = request;
      const count = Math.min(pageCount, this.#capacity);
      if (count < pageCount) this.#begun = { blockIndex, firstPage: firstPage + count, pageCount: pageCount - count };
      const wanted = Array.from({ length: count }, (_, i) => firstPage + i);
      const pages = wanted.filter((page) => this.dirty[blockIndex].delete(page));
      if (pages.length === 0) continue;
      this.#block = blockIndex;
      this.#page = firstPage + count;
      return { blockIndex, pages, urgent: true };
    }
  }

  #scanned(limit: number): Taken | undefined {
    const blocks = this.#sizes.length;
    // The rest of this block, each other block, then this one from its begin.
    for (let round = 0; round <= blocks; round += 1) {
      const blockIndex = (this.#block + round) % blocks;
      const from = round === 0 ? this.#page : 0;
      const ahead = [...this.dirty[blockIndex]].filter((page) => page >= from).sort((a, b) => a - b);
      if (ahead.length === 0) continue;
      const pages = ahead.slice(0, limit);
      for (const page of pages) this.dirty[blockIndex].delete(page);
      this.#block = blockIndex;
      // What is written from now on behind the next page to take waits for the next round.
      this.#page = ahead[limit] ?? this.#sizes[blockIndex];
      return { blockIndex, pages, urgent: false };
    }
    this.#block = (this.#block + 1) % blocks;
    this.#page = 0;
    return undefined;
  }
}

type Step =
  | { readonly op: 'write'; readonly at: number }
  | { readonly op: 'ask'; readonly at: number; readonly count: number }
  | { readonly op: 'next'; readonly limit: number };

const scenario = fc
  .record({
    sizes: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 4 }),
    capacity: fc.integer({ min: 1, max: 16 }),
  })
  .chain(({ sizes, capacity }) => {
    const at = fc.integer({ min: 0, max: sizes.reduce((sum, size) => sum + size, 0) - 1 });
    const step: fc.Arbitrary<Step> = fc.oneof(
      { weight: 4, arbitrary: fc.record({ op: fc.constant('write' as const), at }) },
      {
        weight: 2,
        arbitrary: fc.record({ op: fc.constant('ask' as const), at, count: fc.integer({ min: 1, max: 30 }) }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ op: fc.constant('next' as const), limit: fc.integer({ min: 1, max: capacity }) }),
      },
    );
    return fc.record({
      sizes: fc.constant(sizes),
      capacity: fc.constant(capacity),
      steps: fc.array(step, { maxLength: 120 }),
    });
  });

interface Rig {
  readonly bitmaps: readonly PageBitmap[];
  readonly queue: PageRequestQueue;
  readonly search: PageSearch;
  next(limit: number): Taken | undefined;
}

function rig(sizes: readonly number[], capacity: number, hostPages = sizes.map(() => 1)): Rig {
  const bitmaps = sizes.map((size) => new PageBitmap(size));
  const queue = new PageRequestQueue();
  const trace = new Trace({ words: createTraceWords(), ring: undefined });
  const search = new PageSearch(bitmaps, queue, hostPages, trace);
  const batch: PageBatch = createPageBatch(capacity);
  const next = (limit: number): Taken | undefined => {
    if (!search.next(batch, limit)) return undefined;
    const { blockIndex, pages, count, urgent } = batch;
    return { blockIndex, pages: [...pages.subarray(0, count)], urgent };
  };
  return { bitmaps, queue, search, next };
}

/** The block and page at a place in the row of all pages. */
function locate(sizes: readonly number[], at: number): { blockIndex: number; page: number } {
  let blockIndex = 0;
  let page = at;
  while (page >= sizes[blockIndex]) page -= sizes[blockIndex++];
  return { blockIndex, page };
}

test('takes what the model takes, and in the end every dirty page exactly once (property)', () => {
  fc.assert(
    fc.property(scenario, ({ sizes, capacity, steps }) => {
      const { bitmaps, queue, next } = rig(sizes, capacity);
      const model = new Model(sizes, capacity);
      const check = (limit: number): Taken | undefined => {
        const taken = next(limit);
        expect(taken).toEqual(model.next(limit));
        return taken;
      };
      for (const step of steps) {
        if (step.op === 'next') {
          check(step.limit);
          continue;
        }
        const { blockIndex, page } = locate(sizes, step.at);
        if (step.op === 'write') {
          bitmaps[blockIndex].set(page);
          model.dirty[blockIndex].add(page);
        } else {
          const pageCount = Math.min(step.count, sizes[blockIndex] - page);
          queue.push(blockIndex, page, pageCount);
          model.requests.push({ blockIndex, firstPage: page, pageCount });
        }
      }
      const left = bitmaps.reduce((sum, bitmap) => sum + bitmap.count(), 0);
      let taken = 0;
      for (let batch = check(capacity); batch !== undefined; batch = check(capacity)) taken += batch.pages.length;
      expect(taken).toBe(left);
      expect(bitmaps.map((bitmap) => bitmap.count())).toEqual(sizes.map(() => 0));
    }),
    { numRuns: 500 },
  );
});

describe('the scan', () => {
  test('goes on behind what was requested, then comes round to what it left', () => {
    const { bitmaps, queue, next } = rig([10], 4);
    bitmaps[0].setAll();
    expect(next(2)).toMatchObject({ pages: [0, 1], urgent: false });
    queue.push(0, 6, 1);
    expect(next(2)).toMatchObject({ pages: [6], urgent: true });
    expect(next(4)).toMatchObject({ pages: [7, 8, 9], urgent: false });
    expect(next(4)).toMatchObject({ pages: [2, 3, 4, 5], urgent: false });
    expect(next(4)).toBeUndefined();
  });

  test('does not move for a request of what was sent already', () => {
    const { bitmaps, queue, next } = rig([10, 10], 4);
    for (const page of [0, 1, 2, 3]) bitmaps[0].set(page);
    next(2);
    queue.push(1, 5, 4);
    expect(next(4)).toMatchObject({ blockIndex: 0, pages: [2, 3], urgent: false });
  });
});

test('a request larger than a batch goes out whole before the next one', () => {
  const { bitmaps, queue, next } = rig([20], 4);
  bitmaps[0].setAll();
  queue.push(0, 5, 9);
  queue.push(0, 0, 1);
  expect([next(1), next(1), next(1), next(1)].map((taken) => taken?.pages)).toEqual([
    [5, 6, 7, 8],
    [9, 10, 11, 12],
    [13],
    [0],
  ]);
});

describe('host pages of several target pages', () => {
  test('go whole, in order and without a gap once they have begun, whatever is asked for (property)', () => {
    const block = fc.record({ hostPages: fc.constantFrom(1, 2, 8, 512), count: fc.integer({ min: 1, max: 6 }) });
    const scenarios = fc
      .record({ blocks: fc.array(block, { minLength: 1, maxLength: 3 }), capacity: fc.constantFrom(1, 3, 16, 128) })
      .chain(({ blocks, capacity }) => {
        const hostPage = fc.nat(blocks.reduce((sum, { count }) => sum + count, 0) - 1);
        const limit = fc.integer({ min: 1, max: capacity });
        return fc.record({
          blocks: fc.constant(blocks),
          capacity: fc.constant(capacity),
          // In precopy target pages go one by one, so that host pages are left in part.
          precopy: fc.array(limit, { maxLength: 40 }),
          clean: fc.array(hostPage),
          steps: fc.array(fc.oneof(fc.record({ ask: hostPage }), fc.record({ limit })), { maxLength: 60 }),
        });
      });
    fc.assert(
      fc.property(scenarios, ({ blocks, capacity, precopy, clean, steps }) => {
        const hostPages = blocks.map((each) => each.hostPages);
        const counts = blocks.map(({ count }) => count);
        const sizes = blocks.map((each) => each.hostPages * each.count);
        const { bitmaps, queue, search, next } = rig(sizes, capacity, hostPages);
        for (const bitmap of bitmaps) bitmap.setAll();
        for (const at of clean) {
          const { blockIndex, page } = locate(counts, at);
          bitmaps[blockIndex].clearRange(page * hostPages[blockIndex], hostPages[blockIndex]);
        }
        for (const limit of precopy) next(limit);
        for (const [index, bitmap] of bitmaps.entries()) canonicalize(bitmap, hostPages[index]);
        search.sendWholeHostPages();
        const left = bitmaps.flatMap((bitmap, blockIndex) =>
          Array.from({ length: sizes[blockIndex] }, (_, page) => page)
            .filter((page) => bitmap.test(page))
            .map((page) => `${blockIndex}:${page}`),
        );
        const sent: { blockIndex: number; page: number }[] = [];
        const take = (limit: number): boolean => {
          const taken = next(limit);
          for (const page of taken?.pages ?? []) sent.push({ blockIndex: taken?.blockIndex as number, page });
          return taken !== undefined;
        };
        for (const step of steps) {
          if ('limit' in step) take(step.limit);
          else {
            const { blockIndex, page } = locate(counts, step.ask);
            queue.push(blockIndex, page * hostPages[blockIndex], hostPages[blockIndex]);
          }
          const last = sent.at(-1);
          const isInside = last !== undefined && (last.page + 1) % hostPages[last.blockIndex] !== 0;
          if (isInside) expect(search.isUnderWay).toBe(true);
        }
        while (take(capacity));
        expect(search.isUnderWay).toBe(false);
        expect(sent.map(({ blockIndex, page }) => `${blockIndex}:${page}`).sort()).toEqual(left.sort());
        const breaks = sent.filter(({ blockIndex, page }, at) => {
          const isFirst = page % hostPages[blockIndex] === 0;
          const follows = at > 0 && sent[at - 1].blockIndex === blockIndex && sent[at - 1].page === page - 1;
          return !isFirst && !follows;
        });
        expect(breaks).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  test('a request waits for the host page that has begun, and costs nothing more if it is for that one', () => {
    const { bitmaps, queue, search, next } = rig([12], 16, [4]);
    bitmaps[0].setAll();
    search.sendWholeHostPages();
    expect(next(2)).toMatchObject({ pages: [0, 1], urgent: false });
    queue.push(0, 0, 4);
    queue.push(0, 8, 4);
    expect(next(16)).toMatchObject({ pages: [2, 3], urgent: false });
    expect(next(16)).toMatchObject({ pages: [8, 9, 10, 11], urgent: true });
    expect(next(16)).toMatchObject({ pages: [4, 5, 6, 7], urgent: false });
    expect(next(16)).toBeUndefined();
  });
});

describe('beside somebody who takes host pages too', () => {
  const HOST = 4;

  function shared(pages: number) {
    const dirty = new PageBitmap(pages);
    dirty.setAll();
    const trace = new Trace({ words: createTraceWords(), ring: undefined });
    const queue = new PageRequestQueue();
    const search = new PageSearch([dirty], queue, [HOST], trace);
    search.sendWholeHostPages();
    return { dirty, queue, search, batch: createPageBatch(16) };
  }
  const pagesOf = ({ pages, count }: PageBatch) => [...pages.subarray(0, count)];

  test('one that was begun there is left to them, and one begun here is sent to its end', () => {
    const { dirty, search, batch } = shared(4 * HOST);
    expect(search.next(batch, 2)).toBe(true);
    expect(pagesOf(batch)).toEqual([0, 1]);
    expect(search.isUnderWay).toBe(true);
    // The other one begins the second and the last.
    expect([dirty.clear(4), dirty.clear(12)]).toEqual([true, true]);
    expect(search.next(batch, 16)).toBe(true);
    expect(pagesOf(batch)).toEqual([2, 3]);
    expect(search.next(batch, 16)).toBe(true);
    expect(pagesOf(batch)).toEqual([8, 9, 10, 11]);
    expect(search.isUnderWay).toBe(false);
    expect(search.next(batch, 16)).toBe(false);
  });

  test('on another connection it begins a host page anew, and what was asked for is forgotten', () => {
    const { dirty, queue, search, batch } = shared(2 * HOST);
    search.next(batch, 2);
    queue.push(0, 4, 4);
    dirty.setAll();
    search.restart();
    expect([search.isUnderWay, queue.length]).toEqual([false, 0]);
    search.next(batch, 16);
    expect(pagesOf(batch)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});

describe('a scan', () => {
  const HUGE = 512;
  const trace = new Trace({ words: createTraceWords(), ring: undefined });

  /** What the batches of a scan are, as first page and count, where `dirty` is and up to `limit` pages each. */
  function scan(dirty: (bitmap: PageBitmap) => void, limit: number): (readonly [first: number, count: number])[] {
    const bitmap = new PageBitmap(4 * HUGE);
    dirty(bitmap);
    const search = new PageSearch([bitmap], new PageRequestQueue(), [1], trace);
    const batch = createPageBatch(HUGE);
    const batches: (readonly [number, number])[] = [];
    while (search.next(batch, limit)) batches.push([batch.pages[0], batch.count]);
    return batches;
  }

  test('that begins inside a huge page ends with it, so that the next ones go whole', () => {
    expect(scan((bitmap) => bitmap.setRange(100, 3 * HUGE), HUGE)).toEqual([
      [100, HUGE - 100],
      [HUGE, HUGE],
      [2 * HUGE, HUGE],
      [3 * HUGE, 100],
    ]);
  });

  test('of pages with gaps goes on over the begin of a huge page', () => {
    const sparse = (bitmap: PageBitmap) => {
      for (let page = 0; page < bitmap.pageCount; page += 64) bitmap.set(page);
    };
    expect(scan(sparse, HUGE)).toEqual([[0, 32]]);
  });
});
