/** ram_block.cc and zero_page.cc: mapping, views, madvise, discard, copies, zero pages, hugepages. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { native, type RamBlockHandle } from '#lib/native.js';
import { HUGEPAGE as HUGE, withHugepages } from '../../testing/hugepages.ts';

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;
const PAGES = 64;

const kinds = [
  ['anonymous', c.MEMORY_ANONYMOUS],
  ['memfd', c.MEMORY_MEMFD],
] as const;

function withBlock(kind: number, use: (block: RamBlockHandle, view: Uint8Array) => void): void {
  const block = n.ramBlockCreate(kind, PAGES * PAGE, PAGE);
  try {
    n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, PAGES * PAGE);
    use(block, new Uint8Array(n.ramBlockBuffer(block)));
  } finally {
    n.ramBlockClose(block);
  }
}

const present = (block: RamBlockHandle): number => n.countPages(block, 0, PAGES * PAGE, c.PAGE_IS_PRESENT);

describe.each(kinds)('%s memory', (_name, kind) => {
  test('is unpopulated and described', () => {
    withBlock(kind, (block, view) => {
      expect(present(block)).toBe(0);
      expect(view.length).toBe(PAGES * PAGE);
      const { address, fd, ...rest } = n.ramBlockInfo(block);
      expect(rest).toEqual({ kind, size: PAGES * PAGE, pageSize: PAGE });
      expect(address % PAGE).toBe(0);
      if (kind === c.MEMORY_MEMFD) expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toContain('flags:');
      else expect(fd).toBe(-1);
    });
  });

  test('has one view per thread, and closing detaches it', () => {
    const block = n.ramBlockCreate(kind, PAGE, PAGE);
    const buffer = n.ramBlockBuffer(block);
    expect(n.ramBlockBuffer(block)).toBe(buffer);
    n.ramBlockClose(block);
    expect(buffer.byteLength).toBe(0);
    expect(() => n.ramBlockBuffer(block)).toThrow(/EBADF/);
  });

  test('is read and written without a view', () => {
    withBlock(kind, (block, view) => {
      n.ramBlockWrite(block, PAGE - 2, new Uint8Array([1, 2, 3, 4]));
      expect([...view.subarray(PAGE - 2, PAGE + 2)]).toEqual([1, 2, 3, 4]);
      const target = new Uint8Array(new SharedArrayBuffer(4)); // as the engine's buffers are
      n.ramBlockRead(block, PAGE - 1, target);
      expect([...target]).toEqual([2, 3, 4, 0]);
      n.ramBlockRead(block, PAGES * PAGE, new Uint8Array(0)); // nothing, at the very end
    });
  });

  test('is discarded exactly where it was asked to be (property)', () => {
    withBlock(kind, (block, view) => {
      const runs = fc.array(fc.tuple(fc.nat(PAGES - 1), fc.integer({ min: 1, max: 4 })), { maxLength: 20 });
      fc.assert(
        fc.property(runs, (runs) => {
          view.fill(0xaa);
          const gone = new Set<number>();
          const ranges = new Float64Array(2 * runs.length + 2).fill(-1); // what lies beyond count is not looked at
          runs.forEach(([first, length], i) => {
            const end = Math.min(first + length, PAGES);
            ranges.set([first * PAGE, (end - first) * PAGE], 2 * i);
            for (let page = first; page < end; page++) gone.add(page);
          });
          n.ramBlockDiscard(block, ranges, runs.length);
          expect(present(block)).toBe(PAGES - gone.size);
          for (let page = 0; page < PAGES; page++) expect(view[page * PAGE + 9]).toBe(gone.has(page) ? 0 : 0xaa);
        }),
        { numRuns: 60 },
      );
    });
  });

  test('is not discarded at all when one range is wrong', () => {
    withBlock(kind, (block, view) => {
      view.fill(1);
      const wrong = [
        [PAGE, 1],
        [1, PAGE],
        [0, 0],
        [-PAGE, PAGE],
        [PAGES * PAGE, PAGE],
        [0, (PAGES + 1) * PAGE],
        [Number.NaN, PAGE],
        [0, Number.NaN],
        [0, Number.POSITIVE_INFINITY],
        [0.5, PAGE],
      ];
      for (const range of wrong) {
        expect(() => n.ramBlockDiscard(block, new Float64Array([0, PAGE, ...range]), 2)).toThrow(RangeError);
      }
      expect(() => n.ramBlockDiscard(block, new Float64Array(3), 2)).toThrow(/^count must/);
      expect(present(block)).toBe(PAGES);
    });
  });

  test('is discarded in many ranges at once', () => {
    const count = 5000; // more than one system call takes
    const block = n.ramBlockCreate(kind, 2 * count * PAGE, PAGE);
    n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, 2 * count * PAGE);
    n.ramBlockAdvise(block, c.MADV_POPULATE_WRITE, 0, 2 * count * PAGE);
    const ranges = Float64Array.from({ length: 2 * count }, (_, i) => (i % 2 === 0 ? i * PAGE : PAGE));
    n.ramBlockDiscard(block, ranges, count);
    expect(n.countPages(block, 0, 2 * count * PAGE, c.PAGE_IS_PRESENT)).toBe(count);
    n.ramBlockClose(block);
  });

  test('takes pages from an arena, with or without gaps', () => {
    withBlock(kind, (block, view) => {
      const arena = new Uint8Array(4 * (PAGE + 8));
      const offsets = new Uint32Array([8, PAGE + 16, 0]);
      arena.fill(5, 8, PAGE + 8);
      arena.fill(6, PAGE + 16, 2 * PAGE + 16);
      n.loadPages(block, PAGE, new Uint32Array([63, 0, 9]), 2, arena, offsets);
      expect([view[63 * PAGE], view[64 * PAGE - 1], view[0], view[PAGE - 1], view[PAGE]]).toEqual([5, 5, 6, 6, 0]);
    });
  });

  test('is filled, and what already reads so is populated, not written', () => {
    withBlock(kind, (block, view) => {
      view.fill(9, PAGE, 2 * PAGE);
      n.fillPages(block, PAGE, new Uint32Array([0, 1, 2, 3]), 4, new Uint8Array([0, 9, 0xff, 0]));
      expect([view[0], view[PAGE], view[2 * PAGE], view[3 * PAGE - 1]]).toEqual([0, 9, 0xff, 0xff]);
      expect(n.countPages(block, 0, 4 * PAGE, c.PAGE_IS_PRESENT)).toBe(4);
      if (kind === c.MEMORY_ANONYMOUS) expect(n.countPages(block, 0, 4 * PAGE, c.PAGE_IS_PFNZERO)).toBe(2);
      view[4 * PAGE - 1] = 1; // all but one byte
      n.fillPages(block, PAGE, new Uint32Array([3]), 1, new Uint8Array([0]));
      expect(view[4 * PAGE - 1]).toBe(0);
    });
  });

  test('finds zero pages, whichever byte is not zero (property)', () => {
    withBlock(kind, (block, view) => {
      const pages = Uint32Array.from({ length: PAGES }, (_, page) => PAGES - 1 - page);
      const bytes = fc.array(fc.tuple(fc.nat(PAGES * PAGE - 1), fc.integer({ min: 1, max: 255 })), { maxLength: 40 });
      fc.assert(
        fc.property(bytes, (bytes) => {
          view.fill(0);
          for (const [at, value] of bytes) view[at] = value;
          const zero = new Uint8Array(PAGES).fill(7);
          const found = n.findZeroPages(block, PAGE, pages, PAGES, zero);
          const dirty = new Set(bytes.map(([at]) => PAGES - 1 - Math.floor(at / PAGE)));
          expect([...zero]).toEqual(Array.from({ length: PAGES }, (_, i) => (dirty.has(i) ? 0 : 1)));
          expect(found).toBe(PAGES - dirty.size);
        }),
        { numRuns: 60 },
      );
    });
  });

  test('finds every single byte of a page', () => {
    withBlock(kind, (block, view) => {
      const zero = new Uint8Array(1);
      for (let at = 0; at < PAGE; at++) {
        view[at] = 1;
        expect(n.findZeroPages(block, PAGE, new Uint32Array([0]), 1, zero)).toBe(0);
        view[at] = 0;
      }
      expect(n.findZeroPages(block, PAGE, new Uint32Array([0]), 1, zero)).toBe(1);
    });
  });
});

test('smaller and larger pages than the host has are looked at and loaded too', () => {
  withBlock(c.MEMORY_ANONYMOUS, (block, view) => {
    view[1024] = 1;
    const zero = new Uint8Array(4);
    expect(n.findZeroPages(block, 1024, new Uint32Array([0, 1, 2, 3]), 4, zero)).toBe(3);
    expect([...zero]).toEqual([1, 0, 1, 1]);
    expect(n.findZeroPages(block, 16 * PAGE, new Uint32Array([0, 1, 2, 3]), 4, zero)).toBe(3);
    expect(() => n.findZeroPages(block, 16 * PAGE, new Uint32Array([4]), 1, zero)).toThrow(RangeError);
  });
});

describe('hugetlb memory', () => {
  test('faults, is placed and is discarded by hugepages', async () => {
    await withHugepages(3, () => {
      const block = n.ramBlockCreate(c.MEMORY_HUGETLB, 3 * HUGE, HUGE);
      const { handle: uffd } = n.userfaultfdOpen('syscall', c.UFFD_FEATURE_MISSING_HUGETLBFS);
      try {
        expect(n.ramBlockInfo(block).address % HUGE).toBe(0);
        n.userfaultfdRegister(uffd, block, 0, 3 * HUGE, c.UFFDIO_REGISTER_MODE_MISSING);
        const arena = new Uint8Array(HUGE + 8).fill(3);
        const outcomes = new Uint8Array(2);
        const place = (page: number): number =>
          n.placePages(uffd, block, HUGE, new Uint32Array([page]), 1, arena, new Uint32Array([8]), 0, outcomes);
        expect(place(1)).toBe(1);
        expect(n.placeZeroPages(uffd, block, HUGE, new Uint32Array([2, 0]), 2, outcomes)).toBe(2);
        expect(place(0)).toBe(0);
        expect(outcomes[0]).toBe(c.OUTCOME_PRESENT);
        const seen = new Uint8Array(3 * HUGE);
        n.ramBlockRead(block, 0, seen);
        expect([seen[0], seen[HUGE], seen[2 * HUGE - 1], seen[2 * HUGE]]).toEqual([0, 3, 3, 0]);
        n.ramBlockDiscard(block, new Float64Array([HUGE, HUGE, 2 * HUGE, HUGE]), 2);
        expect(place(1)).toBe(1); // missing again
        expect(() => place(3)).toThrow(/^pages must/);
        expect(() => n.ramBlockAdvise(block, c.MADV_DONTNEED, PAGE, PAGE)).toThrow(/^offset must/);
        expect(() => n.placeZeroPages(uffd, block, PAGE, new Uint32Array(1), 1, outcomes)).toThrow(/^pageSize must/);
      } finally {
        n.userfaultfdClose(uffd);
        n.ramBlockClose(block);
      }
    });
  });

  test('that is not there is ENOMEM at once', () => {
    const free = Number(/HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]);
    expect(() => n.ramBlockCreate(c.MEMORY_HUGETLB, (free + 1) * HUGE, HUGE)).toThrow(/^mmap: ENOMEM/);
  });
});
