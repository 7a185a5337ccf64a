/** dirty_log.cc: the harvest of written pages is exact, whatever the memory and however pages were written. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { native, type RamBlockHandle, type UserfaultfdHandle } from '#lib/native.js';
import { onThread } from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;

interface Tracked {
  readonly block: RamBlockHandle;
  readonly uffd: UserfaultfdHandle;
  readonly view: Uint8Array;
  readonly bitmap: Uint32Array;
  /** Harvests the whole block into a clean bitmap; the pages found, and what the call said their number is. */
  harvest(): { pages: number[]; count: number };
}

function withTracked(kind: number, pages: number, use: (tracked: Tracked) => void): void {
  const block = n.ramBlockCreate(kind, pages * PAGE, PAGE);
  const { handle: uffd, granted } = n.userfaultfdOpen(
    'syscall',
    c.UFFD_FEATURE_WP_ASYNC | c.UFFD_FEATURE_WP_HUGETLBFS_SHMEM | c.UFFD_FEATURE_WP_UNPOPULATED,
  );
  try {
    expect(granted & c.UFFD_FEATURE_WP_UNPOPULATED).not.toBe(0n);
    n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, pages * PAGE);
    n.userfaultfdRegister(uffd, block, 0, pages * PAGE, c.UFFDIO_REGISTER_MODE_WP);
    n.userfaultfdWriteProtect(uffd, block, 0, pages * PAGE, c.UFFDIO_WRITEPROTECT_MODE_WP);
    const bitmap = new Uint32Array(new SharedArrayBuffer(4 * Math.ceil(pages / 32)));
    const harvest = (): { pages: number[]; count: number } => {
      bitmap.fill(0);
      const count = n.harvestDirtyPages(block, 0, pages * PAGE, PAGE, bitmap);
      return { pages: bits(bitmap), count };
    };
    use({ block, uffd, view: new Uint8Array(n.ramBlockBuffer(block)), bitmap, harvest });
  } finally {
    n.userfaultfdClose(uffd);
    n.ramBlockClose(block);
  }
}

function bits(bitmap: Uint32Array): number[] {
  const set: number[] = [];
  bitmap.forEach((word, index) => {
    for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1) set.push(32 * index + bit);
  });
  return set;
}

const sorted = (pages: Iterable<number>): number[] => [...new Set(pages)].sort((a, b) => a - b);

describe.each([
  ['anonymous', c.MEMORY_ANONYMOUS],
  ['memfd', c.MEMORY_MEMFD],
])('%s memory', (_name, kind) => {
  test('reports exactly the pages written since the last harvest (property)', () => {
    const pages = 256; // populated only by the writes themselves: the first ones find nothing there
    withTracked(kind, pages, ({ view, harvest }) => {
      expect(harvest()).toEqual({ pages: [], count: 0 });
      fc.assert(
        fc.property(fc.array(fc.nat(pages * PAGE - 1), { maxLength: 300 }), (writes) => {
          for (const at of writes) view[at]++;
          const expected = sorted(writes.map((at) => Math.floor(at / PAGE)));
          expect(harvest()).toEqual({ pages: expected, count: expected.length });
          expect(harvest()).toEqual({ pages: [], count: 0 });
        }),
        { numRuns: 100 },
      );
    });
  });

  test('reading is no writing', () => {
    withTracked(kind, 64, ({ view, harvest }) => {
      let sum = 0;
      for (let page = 0; page < 64; page++) sum += view[page * PAGE];
      expect(sum).toBe(0);
      expect(harvest().count).toBe(0);
    });
  });

  // The kernel reports in steps: a bufferful of regions a call, and 512 within one.
  test.each([511, 512, 513, 600, 1023, 1024, 1025, 3000])('%i separate pages are each reported once', (count) => {
    withTracked(kind, 2 * count, ({ block, view, harvest }) => {
      const written = Array.from({ length: count }, (_, i) => 2 * i + 1);
      for (const page of written) view[page * PAGE] = 1;
      expect(harvest()).toEqual({ pages: written, count });
      expect(n.countPages(block, 0, 2 * count * PAGE, c.PAGE_IS_PRESENT)).toBe(count);
    });
  });

  test('a part of the block is harvested alone, and bits are only added', () => {
    withTracked(kind, 128, ({ block, view, bitmap, harvest }) => {
      for (let page = 0; page < 128; page++) view[page * PAGE] = 1;
      bitmap.fill(0);
      bitmap[3] = 1; // page 96, of another harvest
      expect(n.harvestDirtyPages(block, 30 * PAGE, 5 * PAGE, PAGE, bitmap)).toBe(5);
      expect(bits(bitmap)).toEqual([30, 31, 32, 33, 34, 96]);
      expect(harvest().count).toBe(123);
    });
  });

  test('bits of larger and of smaller pages', () => {
    withTracked(kind, 64, ({ block, view, bitmap }) => {
      for (const page of [0, 2, 3, 17, 63]) view[page * PAGE] = 1;
      bitmap.fill(0);
      expect(n.harvestDirtyPages(block, 0, 64 * PAGE, 4 * PAGE, bitmap)).toBe(3);
      expect(bits(bitmap)).toEqual([0, 4, 15]);
      view[PAGE] = 1;
      const fine = new Uint32Array(8);
      expect(n.harvestDirtyPages(block, 0, 64 * PAGE, PAGE / 4, fine)).toBe(4);
      expect(bits(fine)).toEqual([4, 5, 6, 7]);
    });
  });
});

test('no write is lost while another thread writes during the harvests', async () => {
  const pages = 4096;
  const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, pages * PAGE, PAGE);
  const { handle: uffd } = n.userfaultfdOpen('syscall', c.UFFD_FEATURE_WP_ASYNC);
  n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, pages * PAGE);
  n.userfaultfdRegister(uffd, block, 0, pages * PAGE, c.UFFDIO_REGISTER_MODE_WP);
  n.userfaultfdWriteProtect(uffd, block, 0, pages * PAGE, c.UFFDIO_WRITEPROTECT_MODE_WP);
  const done = new Int32Array(new SharedArrayBuffer(4));
  const writer = onThread('writer', { block, done, pages, PAGE }, (n, { block, done, pages, PAGE }) => {
    const words = new Uint32Array(n.ramBlockBuffer(block));
    let random = 1;
    for (let i = 1; i <= 300_000; i++) {
      random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
      words[((random >>> 8) % pages) * (PAGE / 4)] = i;
    }
    Atomics.store(done, 0, 1);
  });
  // A copy that takes over every harvested page after its harvest must end up equal to the block.
  const live = new Uint32Array(n.ramBlockBuffer(block));
  const copy = new Uint32Array(pages);
  const bitmap = new Uint32Array(pages / 32);
  let harvests = 0;
  const takeOver = (): void => {
    bitmap.fill(0);
    n.harvestDirtyPages(block, 0, pages * PAGE, PAGE, bitmap);
    for (const page of bits(bitmap)) copy[page] = live[page * (PAGE / 4)];
    harvests++;
  };
  while (Atomics.load(done, 0) === 0) {
    takeOver();
    await new Promise(setImmediate);
  }
  await writer.result;
  takeOver();
  expect(harvests).toBeGreaterThan(5);
  const differing = Array.from({ length: pages }, (_, page) => page).filter(
    (page) => copy[page] !== live[page * (PAGE / 4)],
  );
  expect(differing).toEqual([]);
  n.userfaultfdClose(uffd);
  n.ramBlockClose(block);
});

test('arguments are checked, and memory that is not tracked is refused', () => {
  const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 64 * PAGE, PAGE);
  const bitmap = new Uint32Array(1);
  expect(() => n.harvestDirtyPages(block, 0, 33 * PAGE, PAGE, bitmap)).toThrow(/^bitmap must/);
  expect(() => n.harvestDirtyPages(block, PAGE / 2, PAGE, PAGE, bitmap)).toThrow(/^offset must/);
  expect(() => n.harvestDirtyPages(block, 0, 65 * PAGE, PAGE, bitmap)).toThrow(/^length must/);
  expect(() => n.harvestDirtyPages(block, 0, 32 * PAGE, PAGE, bitmap)).toThrow(/PAGEMAP_SCAN.*E(PERM|INVAL)/);
  expect(n.hasPagemapScan()).toBe(true);
  n.ramBlockClose(block);
});

test('countPages counts pages that have all of the categories', () => {
  const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 8 * PAGE, PAGE);
  n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, 8 * PAGE);
  const view = new Uint8Array(n.ramBlockBuffer(block));
  view[0] = 1;
  expect(view[PAGE]).toBe(0);
  expect(n.countPages(block, 0, 8 * PAGE, c.PAGE_IS_PRESENT)).toBe(2);
  expect(n.countPages(block, 0, 8 * PAGE, c.PAGE_IS_PRESENT | c.PAGE_IS_PFNZERO)).toBe(1);
  expect(n.countPages(block, PAGE, PAGE, c.PAGE_IS_PRESENT)).toBe(1);
  expect(n.countPages(block, 0, 8 * PAGE, c.PAGE_IS_HUGE)).toBe(0);
  n.ramBlockClose(block);
});

test('findAbsentPages finds the pages that are not mapped, and leaves them so', () => {
  withTracked(c.MEMORY_MEMFD, 70, ({ block, view, bitmap, harvest }) => {
    for (const page of [0, 3, 31, 32, 69]) view[page * PAGE] = 1;
    const mapped = new Set([0, 3, 31, 32, 69]);
    const absent = Array.from({ length: 70 }, (_, page) => page).filter((page) => !mapped.has(page));
    for (let time = 0; time < 2; time += 1) {
      bitmap.fill(0);
      expect(n.findAbsentPages(block, 0, 70 * PAGE, PAGE, bitmap)).toBe(absent.length);
      expect(bits(bitmap)).toEqual(absent);
    }
    bitmap.fill(0);
    n.findAbsentPages(block, PAGE, 4 * PAGE, PAGE, bitmap);
    expect(bits(bitmap)).toEqual([1, 2, 4]);
    harvest();
    n.ramBlockDiscard(block, new Float64Array([3 * PAGE, PAGE]), 1);
    expect(harvest().pages).toEqual([]); // which is why there is this call
    bitmap.fill(0);
    expect(n.findAbsentPages(block, 3 * PAGE, PAGE, PAGE, bitmap)).toBe(1);
    expect(() => n.findAbsentPages(block, 0, 70 * PAGE, PAGE, new Uint32Array(2))).toThrow(/^bitmap must/);
  });
});
