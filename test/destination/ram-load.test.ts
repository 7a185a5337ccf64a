/** Loading RAM in precopy, into real memory: contents, fills, and that a received page never faults again. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { RamLoad } from '#lib/destination/ram-load.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';

const PAGE = 4096;
const PAGES = 16;
const { PAGE_IS_PRESENT } = native().constants;

const receivedPages = (bitmap: PageBitmap): number[] =>
  Array.from({ length: PAGES }, (_, page) => page).filter((page) => bitmap.test(page));

describe.each<MemoryKind>(['anonymous', 'memfd'])('%s memory', (kind) => {
  let blocks: RAMBlock[];
  let received: PageBitmap[];
  const arena = new Uint8Array(4 * PAGE + 100);
  const counters = createDestinationCounters();
  let load: RamLoad;

  beforeEach(() => {
    blocks = [0, 1].map((index) => RAMBlock.create({ idstr: `ram${index}`, size: PAGES * PAGE, kind }));
    received = blocks.map(() => new PageBitmap(PAGES));
    for (const name of counters.names) counters.set(name, 0);
    load = new RamLoad(blocks, received, arena, counters);
  });

  afterEach(() => {
    for (const block of blocks) block.close();
  });

  test('pages come from where they lie in the arena, and only they count as received', () => {
    for (let i = 0; i < arena.length; i += 1) arena[i] = (i * 31 + (i >> 8)) & 0xff;
    const offsets = [100, 9, 3 * PAGE + 50];
    load.pages(1, Uint32Array.of(7, 2, 3, 4), 3, Uint32Array.of(...offsets, 0));
    const bytes = blocks[1].bytes();
    for (const [i, page] of [7, 2, 3].entries()) {
      const found = Buffer.from(bytes.subarray(page * PAGE, (page + 1) * PAGE));
      expect(found.equals(arena.subarray(offsets[i], offsets[i] + PAGE)), `page ${page}`).toBe(true);
    }
    expect(received.map(receivedPages)).toEqual([[], [2, 3, 7]]);
    expect(bytes.subarray(4 * PAGE, 5 * PAGE).every((byte) => byte === 0)).toBe(true);
    expect(counters.snapshot()).toMatchObject({ normal: 3, duplicate: 0 });
  });

  test('a fill goes over what was there, and a zero page is present after it', () => {
    blocks[0].bytes().fill(9, 5 * PAGE, 6 * PAGE);
    const present = () => native().countPages(blocks[0].handle, 0, blocks[0].size, PAGE_IS_PRESENT);
    const before = present();
    load.fills(0, Uint32Array.of(5, 6, 7), 3, Uint8Array.of(0, 0, 0xa5));
    expect(present() - before).toBe(2);
    const bytes = blocks[0].bytes();
    const firsts = [5, 6, 7].map((page) => {
      const content = new Set(bytes.subarray(page * PAGE, (page + 1) * PAGE));
      expect(content.size).toBe(1);
      return [...content][0];
    });
    expect(firsts).toEqual([0, 0, 0xa5]);
    expect(receivedPages(received[0])).toEqual([5, 6, 7]);
    expect(counters.snapshot()).toMatchObject({ normal: 0, duplicate: 3 });
  });

  test('a page outside the block changes nothing and is not received', () => {
    expect(() => load.pages(0, Uint32Array.of(1, PAGES), 2, Uint32Array.of(0, 0))).toThrow(RangeError);
    expect(receivedPages(received[0])).toEqual([]);
  });
});
