/** The dirty log over real memory: exactly what was written, once, in each block, and nothing left behind. */
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { DirtyLog } from '#lib/memory/dirty-log.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { onThread } from '../../testing/native-thread.ts';

const PAGE = 4096;
const PAGES = [67, 33, 1] as const;

afterEach(() => {
  vi.restoreAllMocks();
});

const createBlocks = (kind: MemoryKind): RAMBlock[] =>
  PAGES.map((pages, index) => RAMBlock.create({ idstr: `ram${index}`, size: pages * PAGE, kind }));

const cleanBitmaps = (): PageBitmap[] => PAGES.map((pages) => new PageBitmap(pages));

const pagesOf = (bitmap: PageBitmap): number[] => {
  const pages: number[] = [];
  for (let at = bitmap.findNext(0); at < bitmap.pageCount; at = bitmap.findNext(at + 1)) pages.push(at);
  return pages;
};

const writes = fc.tuple(
  ...PAGES.map((pages) => fc.uniqueArray(fc.integer({ min: 0, max: pages - 1 }), { maxLength: pages })),
);

describe.each<MemoryKind>(['anonymous', 'memfd'])('%s memory', (kind) => {
  test('a sync finds exactly the pages written since the last, in each block (property)', () => {
    const blocks = createBlocks(kind);
    // Anonymous memory is written before it is there; of shared memory what is not there counts as written.
    if (kind !== 'anonymous') for (const block of blocks) block.bytes().fill(0);
    const log = DirtyLog.start(blocks);
    try {
      fc.assert(
        fc.property(writes, fc.boolean(), (written, native_) => {
          for (const [index, pages] of written.entries()) {
            for (const page of pages) {
              if (native_) native().ramBlockWrite(blocks[index].handle, page * PAGE + 5, Uint8Array.of(page + 1));
              else blocks[index].bytes()[page * PAGE + 4095] += 1;
            }
          }
          const dirty = cleanBitmaps();
          const found = log.sync(dirty);
          const expected = written.map((pages) => [...pages].sort((a, b) => a - b));
          expect(dirty.map(pagesOf)).toEqual(expected);
          expect(found).toBe(expected.flat().length);
          const again = cleanBitmaps();
          expect(log.sync(again)).toBe(0);
          expect(again.map(pagesOf)).toEqual([[], [], []]);
        }),
        { numRuns: 60 },
      );
    } finally {
      log.stop();
      for (const block of blocks) block.close();
    }
  });

  test('reading dirties nothing, and a sync adds to what is set already', () => {
    const blocks = createBlocks(kind);
    const log = DirtyLog.start(blocks);
    for (const block of blocks) expect(block.bytes().every((byte) => byte === 0)).toBe(true); // populates
    const dirty = cleanBitmaps();
    dirty[0].set(3);
    blocks[0].bytes()[9 * PAGE] = 1;
    expect(log.sync(dirty)).toBe(1);
    expect(pagesOf(dirty[0])).toEqual([3, 9]);
    log.stop();
    for (const block of blocks) block.close();
  });

  test('syncs that run while another thread writes lose no write', async () => {
    const pages = 512;
    const block = RAMBlock.create({ idstr: 'ram', size: pages * PAGE, kind });
    const log = DirtyLog.start([block]);
    const done = new SharedArrayBuffer(4);
    const counts = new SharedArrayBuffer(4 * pages);
    const writer = onThread('test/writer', { handle: block.handle, pages, done, counts }, (n, data) => {
      const content = new Uint32Array(1);
      const bytes = new Uint8Array(content.buffer);
      const written = new Uint32Array(data.counts);
      let random = 1;
      for (let i = 0; i < 40_000; i++) {
        random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
        const page = (random >>> 8) % data.pages;
        content[0] = ++written[page];
        n.ramBlockWrite(data.handle, page * 4096, bytes);
      }
      Atomics.store(new Int32Array(data.done), 0, 1);
    });
    // A copy that is brought up to date for dirty pages alone is right in the end, or a write was lost.
    const copy = new Uint32Array(pages);
    const content = new Uint32Array(1);
    let syncs = 0;
    for (let last = false; !last; syncs += 1) {
      last = Atomics.load(new Int32Array(done), 0) === 1;
      const dirty = new PageBitmap(pages);
      log.sync([dirty]);
      for (const page of pagesOf(dirty)) {
        native().ramBlockRead(block.handle, page * PAGE, new Uint8Array(content.buffer));
        copy[page] = content[0];
      }
      await new Promise(setImmediate);
    }
    await writer.result;
    expect(syncs).toBeGreaterThan(1);
    expect([...copy]).toEqual([...new Uint32Array(counts)]);
    log.stop();
    block.close();
  });
});

test('after the stop the blocks are plain memory and no userfaultfd is left', () => {
  const leaks = handleLeaks();
  const blocks = createBlocks('anonymous');
  const log = DirtyLog.start(blocks);
  blocks[0].bytes()[0] = 1;
  log.stop();
  blocks[0].bytes()[PAGE] = 2;
  expect(blocks[0].bytes().subarray(0, 1)).toEqual(Uint8Array.of(1));
  // Nothing watches them, so another log may.
  const next = DirtyLog.start(blocks);
  const dirty = cleanBitmaps();
  expect(next.sync(dirty)).toBe(0);
  next.stop();
  for (const block of blocks) block.close();
  expect(leaks()).toEqual({});
});

/** What a sync finds after pages 5 to 8 of ten host pages were discarded, then after all was read to be sent. */
function discardAndSync(kind: MemoryKind): { found: number[]; later: number[]; hostPages: number } {
  const block = RAMBlock.create({ idstr: 'ram', size: 10 * (kind === 'hugetlb' ? HUGEPAGE : PAGE), kind });
  const { size, pageSize } = block;
  block.bytes().fill(1);
  const log = DirtyLog.start([block]);
  try {
    native().ramBlockDiscard(block.handle, Float64Array.of(5 * pageSize, 4 * pageSize), 1);
    const found = new PageBitmap(size / PAGE);
    log.sync([found]);
    const pages = Uint32Array.from({ length: size / PAGE }, (_, page) => page);
    native().findZeroPages(block.handle, PAGE, pages, pages.length, new Uint8Array(pages.length));
    const later = new PageBitmap(size / PAGE);
    log.sync([later]);
    return { found: pagesOf(found), later: pagesOf(later), hostPages: pageSize / PAGE };
  } finally {
    log.stop();
    block.close();
  }
}

describe('a page that is discarded is found like one that is written, until it has been read to be sent', () => {
  const expectDiscarded = ({ found, later, hostPages }: ReturnType<typeof discardAndSync>): void => {
    expect(found).toEqual(Array.from({ length: 4 * hostPages }, (_, i) => 5 * hostPages + i));
    expect(later).toEqual([]);
  };

  test('anonymous memory', () => expectDiscarded(discardAndSync('anonymous')));
  test('shared memory', () => expectDiscarded(discardAndSync('memfd')));
  test('hugepages', async () => expectDiscarded(await withHugepages(10, () => discardAndSync('hugetlb'))));
});

test('hugepages are found whole, by their target pages', async () => {
  await withHugepages(3, () => {
    const blocks = [
      RAMBlock.create({ idstr: 'small', size: 3 * PAGE }),
      RAMBlock.create({ idstr: 'huge', size: 3 * HUGEPAGE, kind: 'hugetlb' }),
    ];
    for (const block of blocks) block.bytes().fill(1);
    const log = DirtyLog.start(blocks);
    try {
      blocks[0].bytes()[PAGE] = 2;
      blocks[1].bytes()[HUGEPAGE + 77 * PAGE] = 2;
      const dirty = blocks.map(({ size }) => new PageBitmap(size / PAGE));
      expect(log.sync(dirty)).toBe(1 + 512);
      expect(dirty.map((bitmap) => bitmap.describeRanges(4))).toEqual(['1', '512-1023']);
    } finally {
      log.stop();
      for (const block of blocks) block.close();
    }
  });
});

describe('a start that fails leaves no userfaultfd', () => {
  test('because a block is gone', () => {
    const [good, gone] = createBlocks('anonymous');
    gone.close();
    const leaks = handleLeaks();
    expect(() => DirtyLog.start([good, gone])).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(leaks()).toEqual({});
  });

  test('because the kernel has no PAGEMAP_SCAN', () => {
    vi.spyOn(native(), 'hasPagemapScan').mockReturnValue(false);
    const leaks = handleLeaks();
    expect(() => DirtyLog.start(createBlocks('anonymous').slice(0, 1))).toThrow(
      expect.objectContaining({ code: 'PRECOPY_UNAVAILABLE' }),
    );
    expect(leaks()).toEqual({ ramBlocks: 3 });
  });
});
