/** Poisoning on real memory: what came can be read, what did not is there for nobody, and events do not stop it. */
import { afterEach, describe, expect, test } from 'vitest';
import { poisonMissing } from '#lib/destination/poison-missing.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { type NativeError, native, type UserfaultfdHandle } from '#lib/native.js';
import { HUGEPAGE, withHugepages } from '../../testing/hugepages.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { blockedIn, onThread, systemCallOf, until } from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGES = 40;

let block: RAMBlock | undefined;
let uffd: UserfaultfdHandle | undefined;
let leaks = handleLeaks();

/** A block with those pages, of its page size, placed and received. */
function prepare(kind: MemoryKind, pages: number, there: readonly number[], features = 0n) {
  leaks = handleLeaks();
  block = RAMBlock.create({ idstr: 'ram', size: pages * (kind === 'hugetlb' ? HUGEPAGE : 4096), kind });
  uffd = openUserfaultfd(c.UFFD_FEATURE_POISON | c.UFFD_FEATURE_MISSING_HUGETLBFS | features).handle;
  n.userfaultfdRegister(uffd, block.handle, 0, block.size, c.UFFDIO_REGISTER_MODE_MISSING);
  const received = new PageBitmap(block.size / 4096);
  const targetPages = block.pageSize / 4096;
  for (const page of there) {
    n.placeZeroPages(uffd, block.handle, block.pageSize, Uint32Array.of(page), 1, new Uint8Array(1));
    received.setRange(page * targetPages, targetPages);
  }
  return { block, uffd, received };
}

function release(): void {
  if (uffd !== undefined) n.userfaultfdClose(uffd);
  block?.close();
  uffd = undefined;
  block = undefined;
}

afterEach(() => {
  release();
  expect(leaks()).toEqual({});
});

/** The pages of the block that nothing can be put to any more, though they are not mapped. */
function poisoned({ handle, size, pageSize }: RAMBlock, uffd: UserfaultfdHandle): number[] {
  return Array.from({ length: size / pageSize }, (_, page) => page).filter((page) => {
    if (n.countPages(handle, page * pageSize, pageSize, c.PAGE_IS_PRESENT) > 0) return false;
    try {
      n.userfaultfdPoison(uffd, handle, page * pageSize, pageSize);
      return false;
    } catch (error) {
      return (error as NativeError).code === 'EEXIST';
    }
  });
}

const but = (there: readonly number[], pages = PAGES): number[] =>
  Array.from({ length: pages }, (_, page) => page).filter((page) => !there.includes(page));

describe.each<MemoryKind>(['anonymous', 'memfd'])('%s', (kind) => {
  test.each<[string, number[]]>([
    ['nothing came', []],
    ['some came', [0, 1, 7, 8, 9, 31, 32, 39]],
    ['all but one', but([17])],
    ['all', but([])],
  ])('%s', async (_what, there) => {
    const { block, uffd, received } = prepare(kind, PAGES, there);
    await poisonMissing(uffd, [block.descriptor], [received]);
    expect(poisoned(block, uffd)).toEqual(but(there));
    for (const page of there) n.ramBlockRead(block.handle, page * 4096, new Uint8Array(4096));
  });

  test('a page that is there and is not known to be stays as it is', async () => {
    const { block, uffd, received } = prepare(kind, PAGES, [3, 4]);
    received.clear(4);
    await poisonMissing(uffd, [block.descriptor], [received]);
    expect(poisoned(block, uffd)).toEqual(but([3, 4]));
  });
});

test('hugepages', () =>
  withHugepages(3, async () => {
    const { block, uffd, received } = prepare('hugetlb', 3, [1]);
    await poisonMissing(uffd, [block.descriptor], [received]);
    expect(poisoned(block, uffd)).toEqual([0, 2]);
    release();
  }));

test('pages that are not mapped any more are passed over', async () => {
  const { block, uffd, received } = prepare('anonymous', PAGES, [2]);
  n.ramBlockUnmap(block.handle, 10 * 4096, 5 * 4096);
  await poisonMissing(uffd, [block.descriptor], [received]);
  for (const page of [9, 15, 39]) {
    expect(() => n.userfaultfdPoison(uffd, block.handle, page * 4096, 4096)).toThrow(
      expect.objectContaining({ code: 'EEXIST' }),
    );
  }
});

test('who lets go of memory just then is not left waiting, and does not stop it', async () => {
  const { block, uffd, received } = prepare('anonymous', PAGES, [2, 3], c.UFFD_FEATURE_EVENT_REMOVE);
  const discards = onThread('test/discards', { handle: block.handle }, (nn, { handle }) => {
    nn.ramBlockDiscard(handle, Float64Array.of(2 * 4096, 4096), 1);
    return true;
  });
  await until('it waits for its event to be read', () => systemCallOf('test/discards') === blockedIn.madvise);
  await poisonMissing(uffd, [block.descriptor], [received]);
  expect(await discards.result).toBe(true);
  expect(poisoned(block, uffd)).toEqual(but([2, 3]));
});
