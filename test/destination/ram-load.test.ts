/** Loading RAM in precopy, into real memory: contents, fills, and that a received page never faults again. */
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { PageCollector } from '#lib/destination/page-collector.js';
import { RamLoad } from '#lib/destination/ram-load.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { decodeAll } from '#lib/wire/decode-all.js';
import type { PageRecord } from '#lib/wire/messages.js';
import { capture } from '../../testing/captures.js';
import { encodeXbzrle } from '../../testing/xbzrle.js';

const PAGE = 4096;
const PAGES = 16;
const { PAGE_IS_PRESENT } = native().constants;

const xbzrlePage: PageRecord = {
  type: 'page',
  kind: 'xbzrle',
  block: { index: 1, idstr: 'ram1', usedLength: PAGES * PAGE },
  offset: 0,
  fill: 0,
  dataStart: 0,
  dataLength: 0,
};

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

  test('a page in xbzrle form changes the page that is here, and no other', () => {
    const before = Uint8Array.from({ length: PAGE }, (_, i) => i * 7);
    const after = before.slice().fill(0xee, 100, 350);
    arena.set(before);
    const delta = encodeXbzrle(before, after);
    arena.set(delta, PAGE);
    load.pages(1, Uint32Array.of(3, 4), 2, Uint32Array.of(0, 0));
    load.xbzrle({ ...xbzrlePage, offset: 3 * PAGE, dataStart: PAGE, dataLength: delta.length }, 77);
    const pageAt = (page: number) => Buffer.from(blocks[1].bytes().subarray(page * PAGE, (page + 1) * PAGE));
    expect([pageAt(3).equals(after), pageAt(4).equals(before)]).toEqual([true, true]);
    expect(counters.snapshot()).toMatchObject({ normal: 3 });
  });

  test('an xbzrle delta that is none leaves the page as it was', () => {
    load.fills(1, Uint32Array.of(3), 1, Uint8Array.of(5));
    arena.set([0, 2, 9, 9, 0, 1, 9]);
    expect(() => load.xbzrle({ ...xbzrlePage, offset: 3 * PAGE, dataStart: 0, dataLength: 7 }, 77)).toThrow(
      expect.objectContaining({ code: 'STREAM_CORRUPT', offset: 77 }),
    );
    expect(new Set(blocks[1].bytes().subarray(3 * PAGE, 4 * PAGE))).toEqual(new Set([5]));
  });

  test('a page in xbzrle form that never came, or was discarded, is refused by name', () => {
    arena.set([0, 1, 9]);
    expect(() => load.xbzrle({ ...xbzrlePage, offset: 3 * PAGE, dataStart: 0, dataLength: 3 }, 77)).toThrow(
      expect.objectContaining({
        code: 'STREAM_CORRUPT',
        offset: 77,
        message: expect.stringContaining('page 3 of RAM block ram1'),
      }),
    );
    expect(receivedPages(received[1])).toEqual([]);
  });

  test('a page outside the block changes nothing and is not received', () => {
    expect(() => load.pages(0, Uint32Array.of(1, PAGES), 2, Uint32Array.of(0, 0))).toThrow(RangeError);
    expect(receivedPages(received[0])).toEqual([]);
  });
});

test.each(['f-xbzrle', 'f2-xbzrle-long-runs'])('%s, recorded from QEMU, makes the memory of its source', (name) => {
  const { fromSource, summary } = capture(name);
  const stream = fromSource(0);
  const expected = Object.entries(summary.blocks);
  const blocks = expected.map(([idstr, { size }]) => RAMBlock.create({ idstr, size, kind: 'anonymous' }));
  const received = expected.map(([, { pages }]) => new PageBitmap(pages));
  const counters = createDestinationCounters();
  const collector = new PageCollector(
    new RamLoad(
      blocks.map((block) => block.descriptor),
      received,
      stream,
      counters,
    ),
  );
  let changed = 0;
  for (const record of decodeAll(stream)) {
    if (record.type === 'ram-blocks')
      expect(record.blocks.map(({ idstr }) => idstr)).toEqual(expected.map(([id]) => id));
    if (record.type !== 'page') continue;
    if (record.kind === 'xbzrle') changed += 1;
    collector.add(record, record.recordOffset);
  }
  collector.flush();
  expect(changed).toBe(summary.counts['ram xbzrle']);
  const hashes = blocks.map((block) => createHash('sha256').update(block.bytes()).digest('hex'));
  for (const block of blocks) block.close();
  expect(hashes).toEqual(expected.map(([, { sha256 }]) => sha256));
});
