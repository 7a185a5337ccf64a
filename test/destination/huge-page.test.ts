/** A huge page that is received beside the guest's memory and then moved into it, under a thread that waits for it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HugePage } from '#lib/destination/huge-page.js';
import { HUGE_PAGE_SIZE, TARGET_PAGE_SIZE } from '#lib/memory/page.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native, type UserfaultfdHandle } from '#lib/native.js';
import type { PageRunRecord } from '#lib/wire/messages.js';
import { isInFault, onThread, until } from '../../testing/native-thread.ts';

const SIZE = 2 * HUGE_PAGE_SIZE;
const PAGES = HUGE_PAGE_SIZE / TARGET_PAGE_SIZE;
const n = native();
const c = n.constants;

let page: HugePage;
let block: RAMBlock;
let uffd: UserfaultfdHandle;

beforeEach(() => {
  page = new HugePage();
  block = RAMBlock.create({ idstr: 'ram', size: SIZE });
  n.ramBlockAdvise(block.handle, c.MADV_NOHUGEPAGE, 0, SIZE);
  uffd = openUserfaultfd(0n).handle;
  n.userfaultfdRegister(uffd, block.handle, 0, SIZE, c.UFFDIO_REGISTER_MODE_MISSING);
});
afterEach(() => {
  n.userfaultfdClose(uffd);
  block.close();
  page.close();
});

const run = (offset: number, pages = PAGES): PageRunRecord => ({
  type: 'page-run',
  kind: 'normal',
  block: { index: 0, idstr: 'ram', usedLength: SIZE },
  offset,
  pages,
});

const present = (): number => n.countPages(block.handle, 0, SIZE, c.PAGE_IS_PRESENT);

function byteAt(offset: number): number {
  const bytes = new Uint8Array(1);
  n.ramBlockRead(block.handle, offset, bytes);
  return bytes[0];
}

test('the page is moved, and wakes who waits for a part of it; the next one is another', async () => {
  page.bytes.fill(7);
  const reader = onThread('test/guest', { handle: block.handle, at: HUGE_PAGE_SIZE + 12345 }, (nn, { handle, at }) => {
    const bytes = new Uint8Array(1);
    nn.ramBlockRead(handle, at, bytes);
    return bytes[0];
  });
  await until('the guest waits', () => isInFault('test/guest'));
  expect(page.moveTo(uffd, block, HUGE_PAGE_SIZE)).toBe(true);
  expect(await reader.result).toBe(7);
  expect(present()).toBe(PAGES);
  page.bytes.fill(9);
  expect(page.moveTo(uffd, block, 0)).toBe(true);
  expect([byteAt(0), byteAt(HUGE_PAGE_SIZE - 1), byteAt(HUGE_PAGE_SIZE), byteAt(SIZE - 1)]).toEqual([9, 9, 7, 7]);
});

test('where a part is there already nothing of that is changed, and what has not gone is still at hand', () => {
  const zero = Uint32Array.of(3);
  n.placeZeroPages(uffd, block.handle, TARGET_PAGE_SIZE, zero, 1, new Uint8Array(1));
  page.bytes.fill(7);
  expect(page.moveTo(uffd, block, 0)).toBe(false);
  expect(byteAt(3 * TARGET_PAGE_SIZE)).toBe(0);
  const there = present();
  for (let i = there; i < PAGES; i += 1) expect(page.bytes[i * TARGET_PAGE_SIZE]).toBe(7);
});

test('only a whole huge page of private memory is taken, and where the kernel has refused none is any more', () => {
  expect(page.canTake(block, run(0))).toBe(true);
  expect(page.canTake(block, run(HUGE_PAGE_SIZE))).toBe(true);
  expect(page.canTake(block, run(TARGET_PAGE_SIZE))).toBe(false);
  expect(page.canTake(block, run(0, PAGES - 1))).toBe(false);
  using memfd = RAMBlock.create({ idstr: 'shared', size: SIZE, kind: 'memfd' });
  expect(page.canTake(memfd, run(0))).toBe(false);
  using unregistered = RAMBlock.create({ idstr: 'other', size: SIZE });
  page.bytes.fill(1);
  expect(page.moveTo(uffd, unregistered, 0)).toBe(false); // EINVAL, as that is not memory which this uffd watches
  expect(page.canTake(unregistered, run(0))).toBe(false);
  expect(page.canTake(block, run(0))).toBe(true);
});
