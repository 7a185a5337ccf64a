/** userfaultfd.cc: real faults of real threads, served from here; every ioctl and every event the addon can cause. */
import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type EventfdHandle,
  native,
  type RamBlockHandle,
  type StressGuestHandle,
  type UserfaultfdHandle,
} from '#lib/native.js';
import {
  blockedIn,
  countThreads,
  isInFault,
  isPolling,
  onThread,
  systemCallOf,
  until,
} from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;
const MISSING = c.UFFDIO_REGISTER_MODE_MISSING;

/** What a test opened; closed after it, newest first. */
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function makeBlock(kind: number, pages: number): RamBlockHandle {
  const block = n.ramBlockCreate(kind, pages * PAGE, PAGE);
  cleanups.push(() => n.ramBlockClose(block));
  n.ramBlockAdvise(block, c.MADV_NOHUGEPAGE, 0, pages * PAGE);
  return block;
}

function open(features = 0n): UserfaultfdHandle {
  const { handle } = n.userfaultfdOpen('syscall', features);
  cleanups.push(() => n.userfaultfdClose(handle));
  return handle;
}

function makeKick(): EventfdHandle {
  const kick = n.eventfdCreate();
  cleanups.push(() => n.eventfdClose(kick));
  return kick;
}

interface Event {
  kind: number;
  address: number;
  flags: number;
  thread: number;
  length: number;
}

/** One read of events; 10 seconds without any fail the test by their absence. */
function read(uffd: UserfaultfdHandle, room = 64): Event[] {
  const kick = n.eventfdCreate();
  const words = new Float64Array(new SharedArrayBuffer(8 * room * c.EVENT_WORDS));
  const count = n.readEvents(uffd, kick, words, 10_000);
  n.eventfdClose(kick);
  return Array.from({ length: count }, (_, i) => {
    const at = (word: number): number => words[i * c.EVENT_WORDS + word];
    return {
      kind: at(c.EVENT_KIND),
      address: at(c.EVENT_ADDRESS),
      flags: at(c.EVENT_FLAGS),
      thread: at(c.EVENT_THREAD),
      length: at(c.EVENT_LENGTH),
    };
  });
}

/** Places `pages` with bytes `fills`, out of an arena in which `gap` bytes lie before each page. */
function place(
  uffd: UserfaultfdHandle,
  block: RamBlockHandle,
  pages: number[],
  fills: number[] = pages,
  { gap = 8, mode = 0 } = {},
): { placed: number; outcomes: number[] } {
  const arena = new Uint8Array(new SharedArrayBuffer(pages.length * (gap + PAGE)));
  const offsets = Uint32Array.from(pages, (_, i) => i * (gap + PAGE) + gap);
  pages.forEach((_, i) => {
    arena.fill(fills[i], offsets[i], offsets[i] + PAGE);
  });
  const outcomes = new Uint8Array(pages.length);
  const placed = n.placePages(uffd, block, PAGE, new Uint32Array(pages), pages.length, arena, offsets, mode, outcomes);
  return { placed, outcomes: [...outcomes] };
}

function touchOnThread(name: string, block: RamBlockHandle, offset: number) {
  return onThread(name, { block, offset }, (n, { block, offset }) => new Uint8Array(n.ramBlockBuffer(block))[offset]);
}

const viewOf = (block: RamBlockHandle): Uint8Array => new Uint8Array(n.ramBlockBuffer(block));

/** A guest whose vCPUs find zeroes, each on a page of its own: threads that fault as soon as they start. */
function makeGuest(block: RamBlockHandle, vcpus: number, pages: number): StressGuestHandle {
  const guest = n.stressGuestCreate([block], {
    vcpus,
    seed: 1,
    filledPages: pages,
    workingSetPages: pages,
    writesPerSecond: 0,
  });
  return guest;
}

describe('opening', () => {
  test.each(['syscall', 'device', 'user-mode-only'] as const)('by %s, with the features asked for', (via) => {
    const { handle, granted, available } = n.userfaultfdOpen(via, c.UFFD_FEATURE_THREAD_ID);
    expect(granted).toBe(c.UFFD_FEATURE_THREAD_ID);
    expect(available & c.UFFD_FEATURE_THREAD_ID).toBe(c.UFFD_FEATURE_THREAD_ID);
    n.userfaultfdClose(handle);
    expect(() => n.userfaultfdClose(handle)).toThrow(/EBADF/);
  });

  test('names every feature that is missing', () => {
    const call = () => n.userfaultfdOpen('syscall', (1n << 62n) | (1n << 63n) | c.UFFD_FEATURE_THREAD_ID);
    expect(call).toThrow(expect.objectContaining({ code: 'EINVAL', arguments: { missing: 'bit 62, bit 63' } }));
  });

  test('leaves no descriptor behind when it fails', () => {
    const before = n.openHandles();
    expect(() => n.userfaultfdOpen('device', 1n << 63n)).toThrow();
    expect(n.openHandles()).toEqual(before);
  });
});

describe('missing faults', () => {
  test.each([
    ['anonymous', c.MEMORY_ANONYMOUS],
    ['memfd', c.MEMORY_MEMFD],
  ])('a thread that touches %s memory is told of and waits for its page', async (_name, kind) => {
    const block = makeBlock(kind, 8);
    const uffd = open(c.UFFD_FEATURE_THREAD_ID | c.UFFD_FEATURE_EXACT_ADDRESS);
    const ioctls = n.userfaultfdRegister(uffd, block, 0, 8 * PAGE, MISSING);
    expect(ioctls & (1n << 3n)).toBe(1n << 3n); // _UFFDIO_COPY
    const toucher = touchOnThread('toucher', block, 3 * PAGE + 123);
    const [fault] = read(uffd);
    expect(fault).toMatchObject({ kind: c.UFFD_EVENT_PAGEFAULT, flags: 0, length: 0 });
    expect(fault.address - n.ramBlockInfo(block).address).toBe(3 * PAGE + 123);
    expect(fault.thread).toBeGreaterThan(0);
    expect(fault.thread).not.toBe(process.pid);
    await until('the thread waits', () => isInFault('toucher'));
    expect(place(uffd, block, [3], [77])).toEqual({ placed: 1, outcomes: [c.OUTCOME_PLACED] });
    expect(await toucher.result).toBe(77);
  });

  test('a batch of faults is read at once, up to the room there is', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 5);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 5 * PAGE, MISSING);
    const guest = makeGuest(block, 5, 5);
    n.stressGuestStart(guest);
    await until('five vCPUs wait', () => [0, 1, 2, 3, 4].every((index) => isInFault(`stress-vcpu/${index}`)));
    const batch = [...read(uffd, 2), ...read(uffd)];
    expect(batch).toHaveLength(5);
    const base = n.ramBlockInfo(block).address;
    expect(batch.map(({ address }) => (address - base) / PAGE).sort()).toEqual([0, 1, 2, 3, 4]);
    const outcomes = new Uint8Array(5);
    expect(n.placeZeroPages(uffd, block, PAGE, new Uint32Array([0, 1, 2, 4, 3]), 5, outcomes)).toBe(5);
    await until('they write on', () => n.stressGuestStats(guest).writesHere > 100);
    expect(n.stressGuestStats(guest).badPages).toBe(0);
    expect(n.stressGuestClose(guest)).toBe(0);
  });

  test('vCPUs blocked at the end are left behind, and end with their registration', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 3);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 3 * PAGE, MISSING);
    const guest = makeGuest(block, 3, 3);
    n.stressGuestStart(guest);
    await until('all wait', () => [0, 1, 2].every((index) => isInFault(`stress-vcpu/${index}`)));
    expect(n.stressGuestStop(guest, 0)).toBe(false);
    expect(() => n.stressGuestSave(guest)).toThrow(/EBUSY/);
    expect(n.stressGuestClose(guest)).toBe(3);
    expect(countThreads('stress-vcpu/')).toBe(3);
    n.userfaultfdUnregister(uffd, block, 0, 3 * PAGE);
    await until('they ended', () => countThreads('stress-vcpu/') === 0);
  });
});

describe('placing', () => {
  test.each([
    ['pages that touch in the arena', 0],
    ['pages with headers between them, as a stream has them', 8],
  ])('%s', (_name, gap) => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 300);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 300 * PAGE, MISSING);
    const pages = [7, ...Array.from({ length: 200 }, (_, i) => 20 + i), 9, 8, 299];
    const fills = pages.map((page) => (page % 251) + 1);
    const { placed, outcomes } = place(uffd, block, pages, fills, { gap });
    expect(placed).toBe(pages.length);
    expect(new Set(outcomes)).toEqual(new Set([c.OUTCOME_PLACED]));
    const view = viewOf(block);
    expect(pages.map((page) => view[page * PAGE])).toEqual(fills);
    expect(pages.map((page) => view[page * PAGE + PAGE - 1])).toEqual(fills);
    expect(n.countPages(block, 0, 300 * PAGE, c.PAGE_IS_PRESENT)).toBe(pages.length);
  });

  test.each([
    ['copied', 8],
    ['copied out of one piece', 0],
  ])('around pages that are present: %s', (_name, gap) => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 64);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 64 * PAGE, MISSING);
    const present = new Set([0, 5, 6, 63]);
    place(uffd, block, [...present], [9, 9, 9, 9]);
    const pages = Array.from({ length: 64 }, (_, page) => page);
    const { placed, outcomes } = place(uffd, block, pages, Array(64).fill(1), { gap });
    expect(placed).toBe(60);
    expect(outcomes).toEqual(pages.map((page) => (present.has(page) ? c.OUTCOME_PRESENT : c.OUTCOME_PLACED)));
    expect(pages.map((page) => viewOf(block)[page * PAGE])).toEqual(pages.map((page) => (present.has(page) ? 9 : 1)));
  });

  test('zero pages, around present ones', () => {
    for (const kind of [c.MEMORY_ANONYMOUS, c.MEMORY_MEMFD]) {
      const block = makeBlock(kind, 8);
      const uffd = open();
      n.userfaultfdRegister(uffd, block, 0, 8 * PAGE, MISSING);
      place(uffd, block, [2], [9]);
      const outcomes = new Uint8Array(4);
      expect(n.placeZeroPages(uffd, block, PAGE, new Uint32Array([0, 1, 2, 3]), 4, outcomes)).toBe(3);
      const { OUTCOME_PLACED: placed, OUTCOME_PRESENT: present } = c;
      expect([...outcomes]).toEqual([placed, placed, present, placed]);
      expect([0, 1, 2, 3].map((page) => viewOf(block)[page * PAGE])).toEqual([0, 0, 9, 0]);
      if (kind === c.MEMORY_ANONYMOUS) expect(n.countPages(block, 0, 8 * PAGE, c.PAGE_IS_PFNZERO)).toBe(3);
    }
  });

  test('a page that is present wakes whoever still waits for it', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 2);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 2 * PAGE, MISSING);
    const toucher = touchOnThread('present', block, PAGE);
    expect(read(uffd)).toHaveLength(1);
    await until('the thread waits', () => isInFault('present'));
    expect(place(uffd, block, [1], [5], { mode: c.UFFDIO_COPY_MODE_DONTWAKE }).placed).toBe(1);
    await new Promise(setImmediate);
    expect(isInFault('present')).toBe(true); // nobody woke it
    expect(place(uffd, block, [1], [6])).toEqual({ placed: 0, outcomes: [c.OUTCOME_PRESENT] });
    expect(await toucher.result).toBe(5);
  });

  test('userfaultfdWake wakes it too', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 1);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, PAGE, MISSING);
    const toucher = touchOnThread('woken', block, 0);
    read(uffd);
    await until('the thread waits', () => isInFault('woken'));
    place(uffd, block, [0], [5], { mode: c.UFFDIO_COPY_MODE_DONTWAKE });
    n.userfaultfdWake(uffd, block, 0, PAGE);
    expect(await toucher.result).toBe(5);
  });

  test('memory that is not registered is GONE, also in the middle of a run', () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 16);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 16 * PAGE, MISSING);
    n.userfaultfdUnregister(uffd, block, 5 * PAGE, 3 * PAGE);
    const pages = Array.from({ length: 16 }, (_, page) => page);
    for (const gap of [0, 8]) {
      const { placed, outcomes } = place(uffd, block, pages, Array(16).fill(1), { gap });
      expect(placed).toBe(13);
      const gone = (page: number): boolean => page >= 5 && page < 8;
      expect(outcomes).toEqual(pages.map((page) => (gone(page) ? c.OUTCOME_GONE : c.OUTCOME_PLACED)));
      n.ramBlockDiscard(block, new Float64Array([0, 16 * PAGE]), 1);
    }
    expect(place(uffd, makeBlock(c.MEMORY_ANONYMOUS, 1), [0])).toEqual({ placed: 0, outcomes: [c.OUTCOME_GONE] });
  });

  test('a run across registrations of different modes is placed whole', () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 16);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 7 * PAGE, MISSING);
    n.userfaultfdRegister(uffd, block, 7 * PAGE, 9 * PAGE, MISSING | c.UFFDIO_REGISTER_MODE_WP);
    const pages = Array.from({ length: 16 }, (_, page) => page);
    expect(place(uffd, block, pages, pages, { gap: 0 }).placed).toBe(16);
    expect(pages.map((page) => viewOf(block)[page * PAGE])).toEqual(pages);
  });

  test('arguments are checked before anything is placed', () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 4);
    const uffd = open();
    n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, MISSING);
    const arena = new Uint8Array(2 * PAGE);
    const call =
      (pages: number[], offsets: number[], count: number, size = PAGE, mode = 0, room = 4) =>
      () =>
        n.placePages(
          uffd,
          block,
          size,
          new Uint32Array(pages),
          count,
          arena,
          new Uint32Array(offsets),
          mode,
          new Uint8Array(room),
        );
    expect(call([0, 4], [0, 0], 2)).toThrow(/^pages must/);
    expect(call([0, 1], [0, PAGE + 1], 2)).toThrow(/^offsets must/);
    expect(call([0, 1], [0], 2)).toThrow(/^offsets must/);
    expect(call([0, 1], [0, 0], 3)).toThrow(/^count must/);
    expect(call([0], [0], 1, 2 * PAGE)).toThrow(/^pageSize must/);
    expect(call([0], [0], 1, PAGE, 1024)).toThrow(/^mode must/);
    expect(call([0, 1], [0, 0], 2, PAGE, 0, 1)).toThrow(/^outcomes must/);
    expect(n.countPages(block, 0, 4 * PAGE, c.PAGE_IS_PRESENT)).toBe(0);
  });
});

describe('while the mapping changes', () => {
  const features = c.UFFD_FEATURE_EVENT_REMOVE | c.UFFD_FEATURE_EVENT_UNMAP;

  test('placing is RETRY until the REMOVE event is read', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 16);
    const uffd = open(features);
    n.userfaultfdRegister(uffd, block, 0, 16 * PAGE, MISSING);
    place(uffd, block, [4, 5], [1, 1]);
    const discarder = onThread('discarder', { block, PAGE }, (n, { block, PAGE }) => {
      n.ramBlockDiscard(block, new Float64Array([4 * PAGE, 2 * PAGE]), 1);
    });
    await until('it waits for us', () => systemCallOf('discarder') === blockedIn.madvise);
    expect(place(uffd, block, [0, 1, 9]).outcomes).toEqual(Array(3).fill(c.OUTCOME_RETRY));
    const outcomes = new Uint8Array(1);
    expect(n.placeZeroPages(uffd, block, PAGE, new Uint32Array([0]), 1, outcomes)).toBe(0);
    expect([...outcomes]).toEqual([c.OUTCOME_RETRY]);
    const [event] = read(uffd);
    const address = n.ramBlockInfo(block).address + 4 * PAGE;
    expect(event).toMatchObject({ kind: c.UFFD_EVENT_REMOVE, address, length: 2 * PAGE });
    await discarder.result;
    expect(place(uffd, block, [0, 1, 9, 4]).placed).toBe(4); // page 4 is missing again
  });

  test('a discard of many ranges is an event each', async () => {
    for (const kind of [c.MEMORY_ANONYMOUS, c.MEMORY_MEMFD]) {
      const block = makeBlock(kind, 16);
      const uffd = open(features);
      n.userfaultfdRegister(uffd, block, 0, 16 * PAGE, MISSING);
      const all = Array.from({ length: 16 }, (_, page) => page);
      place(uffd, block, all, Array(16).fill(1));
      const discarder = onThread('discards', { block, PAGE }, (n, { block, PAGE }) => {
        n.ramBlockDiscard(block, new Float64Array([PAGE, PAGE, 3 * PAGE, 2 * PAGE, 9 * PAGE, PAGE]), 3);
      });
      const events: Event[] = [];
      while (events.length < 3) events.push(...read(uffd));
      await discarder.result;
      const base = n.ramBlockInfo(block).address;
      expect(events.map(({ address, length }) => [(address - base) / PAGE, length / PAGE])).toEqual([
        [1, 1],
        [3, 2],
        [9, 1],
      ]);
      expect(n.countPages(block, 0, 16 * PAGE, c.PAGE_IS_PRESENT)).toBe(12);
    }
  });

  test('unmapping a part of a block is an UNMAP event, and closing the rest waits for nobody', async () => {
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 4 * PAGE, PAGE);
    const { address } = n.ramBlockInfo(block);
    const uffd = open(features);
    n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, MISSING);
    const unmapper = onThread('unmapper', { block, PAGE }, (n, { block, PAGE }) => n.ramBlockUnmap(block, PAGE, PAGE));
    expect(read(uffd)).toMatchObject([{ kind: c.UFFD_EVENT_UNMAP, address: address + PAGE, length: PAGE }]);
    await unmapper.result;
    expect(place(uffd, block, [0, 1, 2]).outcomes).toEqual([c.OUTCOME_PLACED, c.OUTCOME_GONE, c.OUTCOME_PLACED]);
    n.ramBlockClose(block);
  });

  test('moving a part of a block away is a REMAP event, and an UNMAP event of what it leaves', async () => {
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 4 * PAGE, PAGE);
    const { address } = n.ramBlockInfo(block);
    const uffd = open(features | c.UFFD_FEATURE_EVENT_REMAP);
    n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, MISSING);
    const mover = onThread('mover', { block, PAGE }, (n, { block, PAGE }) => n.ramBlockMoveAway(block, PAGE, 2 * PAGE));
    const range = { address: address + PAGE, length: 2 * PAGE };
    expect(read(uffd)).toMatchObject([{ kind: c.UFFD_EVENT_REMAP, ...range }]);
    expect(read(uffd)).toMatchObject([{ kind: c.UFFD_EVENT_UNMAP, ...range }]);
    await mover.result;
    n.ramBlockClose(block);
  });

  test('a fork is an event with a userfaultfd for the child', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 4);
    const uffd = open(c.UFFD_FEATURE_EVENT_FORK);
    n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, MISSING);
    const forker = onThread('forker', undefined, () => {
      const { spawnSync } = process.getBuiltinModule('node:child_process');
      return spawnSync('true').status;
    });
    const words = new Float64Array(c.EVENT_WORDS);
    expect(n.readEvents(uffd, makeKick(), words, 10_000)).toBe(1);
    expect(words[c.EVENT_KIND]).toBe(c.UFFD_EVENT_FORK);
    n.userfaultfdClose(words[c.EVENT_HANDLE] as UserfaultfdHandle);
    expect(await forker.result).toBe(0);
  });
});

describe('minor faults', () => {
  test('are continued with what the page cache holds', async () => {
    const block = makeBlock(c.MEMORY_MEMFD, 4);
    const uffd = open(c.UFFD_FEATURE_MINOR_SHMEM);
    viewOf(block).fill(8, 2 * PAGE, 3 * PAGE);
    // The page table entries go, the pages stay.
    n.ramBlockAdvise(block, c.MADV_DONTNEED, 0, 4 * PAGE);
    n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, c.UFFDIO_REGISTER_MODE_MINOR);
    const toucher = touchOnThread('minor', block, 2 * PAGE);
    expect(read(uffd)[0].flags & c.UFFD_PAGEFAULT_FLAG_MINOR).toBe(c.UFFD_PAGEFAULT_FLAG_MINOR);
    expect(n.userfaultfdContinue(uffd, block, 2 * PAGE, PAGE)).toBe(PAGE);
    expect(await toucher.result).toBe(8);
    expect(() => n.userfaultfdContinue(uffd, block, 0, PAGE)).toThrow(
      expect.objectContaining({ code: 'EFAULT', arguments: { offset: 0, length: PAGE, done: 0 } }),
    );
  });
});

describe('write protection', () => {
  test('a write waits, is told as such, and goes on once allowed', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 2);
    const uffd = open(c.UFFD_FEATURE_PAGEFAULT_FLAG_WP);
    viewOf(block).fill(1);
    n.userfaultfdRegister(uffd, block, 0, 2 * PAGE, c.UFFDIO_REGISTER_MODE_WP);
    n.userfaultfdWriteProtect(uffd, block, 0, 2 * PAGE, c.UFFDIO_WRITEPROTECT_MODE_WP);
    const writer = onThread('protected', { block }, (n, { block }) => {
      n.ramBlockWrite(block, 5, new Uint8Array([9]));
      return true;
    });
    const { UFFD_PAGEFAULT_FLAG_WP: wp, UFFD_PAGEFAULT_FLAG_WRITE: write } = c;
    expect(read(uffd)).toMatchObject([{ kind: c.UFFD_EVENT_PAGEFAULT, flags: wp | write }]);
    await until('the writer waits', () => isInFault('protected'));
    expect(viewOf(block)[5]).toBe(1);
    n.userfaultfdWriteProtect(uffd, block, 0, 2 * PAGE, 0);
    expect(await writer.result).toBe(true);
    expect(viewOf(block)[5]).toBe(9);
  });

  test('a page can be placed protected', async () => {
    const block = makeBlock(c.MEMORY_ANONYMOUS, 1);
    const uffd = open(c.UFFD_FEATURE_PAGEFAULT_FLAG_WP);
    n.userfaultfdRegister(uffd, block, 0, PAGE, MISSING | c.UFFDIO_REGISTER_MODE_WP);
    expect(place(uffd, block, [0], [3], { mode: c.UFFDIO_COPY_MODE_WP }).placed).toBe(1);
    const writer = onThread('wp-placed', { block }, (n, { block }) => n.ramBlockWrite(block, 0, new Uint8Array([4])));
    expect(read(uffd)[0].flags & c.UFFD_PAGEFAULT_FLAG_WP).not.toBe(0);
    n.userfaultfdWriteProtect(uffd, block, 0, PAGE, 0);
    await writer.result;
    expect(viewOf(block)[0]).toBe(4);
  });
});

test('pages move between blocks without a copy', () => {
  const source = makeBlock(c.MEMORY_ANONYMOUS, 8);
  const target = makeBlock(c.MEMORY_ANONYMOUS, 8);
  const uffd = open(c.UFFD_FEATURE_MOVE);
  viewOf(source).fill(6, 2 * PAGE, 5 * PAGE);
  n.userfaultfdRegister(uffd, target, 0, 8 * PAGE, MISSING);
  expect(n.userfaultfdMove(uffd, target, 4 * PAGE, source, 2 * PAGE, 3 * PAGE)).toBe(3 * PAGE);
  expect([4, 5, 6].map((page) => viewOf(target)[page * PAGE])).toEqual([6, 6, 6]);
  expect(n.countPages(source, 0, 8 * PAGE, c.PAGE_IS_PRESENT)).toBe(0);
  expect(() => n.userfaultfdMove(uffd, target, 6 * PAGE, source, 0, 3 * PAGE)).toThrow(/^length must/);
  expect(() => n.userfaultfdMove(uffd, target, 1, source, 0, PAGE)).toThrow(/^targetOffset must/);
  viewOf(source)[0] = 1;
  const call = () => n.userfaultfdMove(uffd, target, 4 * PAGE, source, 0, PAGE);
  expect(call).toThrow(expect.objectContaining({ code: 'EEXIST', syscall: 'ioctl(UFFDIO_MOVE)' }));
});

test('a poisoned page kills who reads it', () => {
  const program = `
    const { native } = await import(process.argv[1]);
    const n = native(), c = n.constants, page = c.HOST_PAGE_SIZE;
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 2 * page, page);
    const { handle: uffd } = n.userfaultfdOpen('syscall', c.UFFD_FEATURE_POISON);
    n.userfaultfdRegister(uffd, block, 0, 2 * page, c.UFFDIO_REGISTER_MODE_MISSING);
    if (n.userfaultfdPoison(uffd, block, page, page) !== page) process.exit(3);
    process.stdout.write('poisoned');
    n.ramBlockRead(block, page, new Uint8Array(1));
    process.exit(4);
  `;
  const url = import.meta.resolve('#lib/native.js');
  // A sanitizer would turn the signal into an exit code of its own.
  const env = { ...process.env, ASAN_OPTIONS: `${process.env.ASAN_OPTIONS ?? ''}:handle_sigbus=0` };
  const { stdout, signal } = spawnSync(process.execPath, ['--input-type=module', '-e', program, url], { env });
  expect({ stdout: stdout.toString(), signal }).toEqual({ stdout: 'poisoned', signal: 'SIGBUS' });
});

describe('readEvents', () => {
  test('ends at the kick, and stays ended until it is drained', async () => {
    const uffd = open();
    const kick = makeKick();
    const reader = onThread('reader', { uffd, kick }, (n, { uffd, kick }) =>
      n.readEvents(uffd, kick, new Float64Array(n.constants.EVENT_WORDS), -1),
    );
    await until('it waits', () => isPolling('reader'));
    n.eventfdSignal(kick);
    expect(await reader.result).toBe(c.KICKED);
    const events = new Float64Array(c.EVENT_WORDS);
    expect(n.readEvents(uffd, kick, events, -1)).toBe(c.KICKED);
    n.eventfdDrain(kick);
    expect(n.readEvents(uffd, kick, events, 0)).toBe(0);
    n.eventfdDrain(kick); // harmless twice
  });

  test('ends with no events when the time is over', () => {
    const before = n.monotonicUs();
    expect(n.readEvents(open(), makeKick(), new Float64Array(c.EVENT_WORDS), 20)).toBe(0);
    expect(n.monotonicUs() - before).toBeGreaterThanOrEqual(20_000);
  });

  test('goes on with a userfaultfd that another thread closes', async () => {
    const { handle: uffd } = n.userfaultfdOpen('syscall', 0n);
    const kick = makeKick();
    const reader = onThread('orphan', { uffd, kick }, (n, { uffd, kick }) =>
      n.readEvents(uffd, kick, new Float64Array(n.constants.EVENT_WORDS), -1),
    );
    await until('it waits', () => isPolling('orphan'));
    n.userfaultfdClose(uffd);
    expect(isPolling('orphan')).toBe(true);
    n.eventfdSignal(kick);
    expect(await reader.result).toBe(c.KICKED);
  });

  test('wants room for an event', () => {
    const call = () => n.readEvents(open(), makeKick(), new Float64Array(c.EVENT_WORDS - 1), 0);
    expect(call).toThrow(/^events must/);
    expect(() => n.readEvents(open(), makeKick(), new Float64Array(7), -2)).toThrow(/^timeoutMs must/);
  });
});

test('registration is checked and undone', () => {
  const block = makeBlock(c.MEMORY_ANONYMOUS, 4);
  const uffd = open();
  expect(() => n.userfaultfdRegister(uffd, block, 0, 5 * PAGE, MISSING)).toThrow(/^length must/);
  expect(() => n.userfaultfdRegister(uffd, block, 0, PAGE, 0)).toThrow(/^mode must/);
  expect(() => n.userfaultfdRegister(uffd, block, 0, PAGE, 8)).toThrow(/^mode must/);
  n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, MISSING);
  expect(() => n.userfaultfdRegister(open(), block, 0, PAGE, MISSING)).toThrow(
    expect.objectContaining({ code: 'EBUSY', arguments: { offset: 0, length: PAGE, mode: MISSING } }),
  );
  n.userfaultfdUnregister(uffd, block, 0, 4 * PAGE);
  expect(viewOf(block)[0]).toBe(0); // no fault any more
});
