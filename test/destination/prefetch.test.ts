/** Which pages are asked for beside a fault's: around it, ahead of who goes in order, and never beyond the block. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Prefetch } from '#lib/destination/prefetch.js';
import { prefetchPolicies } from '#lib/options.js';

const BLOCK_PAGES = 100_000;
const rangesOf = (prefetch: Prefetch, pages: readonly number[], blockIndex = 0) =>
  pages.map((page) => {
    const { first, end } = prefetch.range(blockIndex, page, 1, BLOCK_PAGES);
    return [first, end];
  });

test('none asks for nothing else', () => {
  expect(rangesOf(new Prefetch('none'), [7, 8])).toEqual([
    [7, 7],
    [8, 8],
  ]);
});

test('around asks for the 64 KiB that the page lies in, wherever the faults come', () => {
  expect(rangesOf(new Prefetch('around'), [16, 31, 32, 5])).toEqual([
    [16, 32],
    [16, 32],
    [32, 48],
    [0, 16],
  ]);
});

test('adaptive doubles what it asks for ahead of faults in order, up to 2 MiB', () => {
  const prefetch = new Prefetch('adaptive');
  let page = 160;
  const lengths = Array.from({ length: 8 }, () => {
    const { first, end } = prefetch.range(0, page, 1, BLOCK_PAGES);
    expect(first).toBe(page);
    page = end;
    return end - first;
  });
  expect(lengths).toEqual([16, 32, 64, 128, 256, 512, 512, 512]);
});

test('who comes past the half of what is on its way has more of it sent; before that nothing', () => {
  const prefetch = new Prefetch('adaptive');
  expect(rangesOf(prefetch, [0, 16, 20, 32, 33])).toEqual([
    [0, 16],
    [16, 48],
    [20, 20], // of 16 to 48, before the half
    [48, 112],
    [33, 33],
  ]);
});

test('a stream goes on where pages have come by themselves in between', () => {
  expect(rangesOf(new Prefetch('adaptive'), [0, 20])).toEqual([
    [0, 16],
    [20, 52],
  ]);
});

test('tells streams apart, by place and by block', () => {
  const prefetch = new Prefetch('adaptive');
  expect(rangesOf(prefetch, [0, 1600, 16, 1616])).toEqual([
    [0, 16],
    [1600, 1616],
    [16, 48],
    [1616, 1648],
  ]);
  expect(rangesOf(prefetch, [48], 1)).toEqual([[48, 64]]);
  expect(rangesOf(prefetch, [48])).toEqual([[48, 112]]);
});

test('forgets the stream that has not grown for longest', () => {
  const prefetch = new Prefetch('adaptive');
  rangesOf(
    prefetch,
    Array.from({ length: 17 }, (_, index) => index * 1600),
  );
  expect(rangesOf(prefetch, [16, 16 * 1600 + 16])).toEqual([
    [16, 32], // anew, around it
    [16 * 1600 + 16, 16 * 1600 + 48],
  ]);
});

test('of larger host pages only the one', () => {
  for (const policy of prefetchPolicies)
    expect(new Prefetch(policy).range(0, 512, 512, BLOCK_PAGES)).toEqual({ first: 512, end: 512 });
});

test('never asks beyond the block, nor for more than 2 MiB (property)', () => {
  const faults = fc.array(fc.tuple(fc.nat(2), fc.nat(999)), { maxLength: 200 });
  fc.assert(
    fc.property(fc.constantFrom(...prefetchPolicies), faults, (policy, steps) => {
      const prefetch = new Prefetch(policy);
      for (const [block, page] of steps) {
        const { first, end } = prefetch.range(block, page, 1, 1000);
        expect(first).toBeGreaterThanOrEqual(0);
        expect(end).toBeLessThanOrEqual(1000);
        expect(end - first).toBeLessThanOrEqual(512);
      }
    }),
    { numRuns: 200 },
  );
});
