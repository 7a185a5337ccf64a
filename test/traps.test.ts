/**
 * The known traps of postcopy on userfaultfd, each with the rule that keeps this engine out of it and the tests
 * that show it; and those facts of the kernel that no other test shows, on real memory. That many readers of
 * one userfaultfd are slower than one needs no test: only the fault thread calls readEvents.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { native, type RamBlockHandle, type UserfaultfdHandle } from '#lib/native.js';
import { blockedIn, isInFault, onThread, systemCallOf, until } from '../testing/native-thread.ts';

interface Trap {
  readonly trap: string;
  readonly rule: string;
  /** Files under test/, with the beginning of the title. */
  readonly shownBy: readonly (readonly [file: string, title: string])[];
}

const here = 'traps.test.ts';
const userfaultfd = 'native/userfaultfd.test.ts';
const changes = 'migration/guest-changes-memory.test.ts';

const traps: readonly Trap[] = [
  {
    trap: 'EEXIST without WAKE leaves the thread blocked that had faulted meanwhile',
    rule: 'a page that is present is success, and its waiters are woken',
    shownBy: [
      ['soak.test.ts', '25,000 faults on %s memory, each served twice, leave nobody blocked'],
      [userfaultfd, 'a page that is present wakes whoever still waits for it'],
    ],
  },
  {
    trap: 'the copy field of UFFDIO_COPY is signed, and a run may be placed in part',
    rule: 'progress is counted, the rest of the run goes on from there or is RETRY',
    shownBy: [
      [here, 'a run that a REMOVE interrupts is placed in part, and the rest is RETRY'],
      [userfaultfd, 'around pages that are present'],
      ['destination/place-page.test.ts', 'a page whose mapping is changing is tried again from there, none twice'],
    ],
  },
  {
    trap: 'a REMOVE event that nobody has read makes every placing EAGAIN',
    rule: 'the thread that reads events is another than the one that places',
    shownBy: [[userfaultfd, 'placing is RETRY until the REMOVE event is read']],
  },
  {
    trap: 'a copy without protection and a protection after it let a write through between the two',
    rule: 'UFFDIO_COPY_MODE_WP places and protects in one step',
    shownBy: [[userfaultfd, 'a page can be placed protected']],
  },
  {
    trap: 'a WAKE that stands for installing lets the thread fault again, for ever',
    rule: 'only a placed or continued page ends a fault',
    shownBy: [
      [here, 'a WAKE alone installs nothing: the thread faults again'],
      [here, 'a minor fault is not ended by a WAKE either, but by CONTINUE'],
    ],
  },
  {
    trap: 'a fault on a page of 1 GiB holds the guest for a second',
    rule: 'postcopy refuses pages above 64 MiB, before anything is sent',
    shownBy: [
      ['memory/ram-list.test.ts', 'host pages that would hold the guest for long are not'],
      ['migration/migrate.test.ts', 'postcopy of gigantic pages is refused before anybody is connected to'],
    ],
  },
  {
    trap: 'a userfaultfd that is closed turns missing pages into zeroes under a running guest',
    rule: 'it stays open, and RAM registered, until every page is there (invariant 4 of docs/architecture.md)',
    shownBy: [
      [here, '%s a userfaultfd turns the pages that are missing into zeroes'],
      ['migration/two-processes.test.ts', 'the source: the destination reports the loss'],
    ],
  },
  {
    trap: 'a number that is used again under a call in flight names another descriptor',
    rule: 'handles are never used again, and an object lives until the last call that uses it has returned',
    shownBy: [
      ['native.test.ts', 'are never reused, and a closed one is EBADF'],
      [userfaultfd, 'goes on with a userfaultfd that another thread closes'],
    ],
  },
  {
    trap: 'the source runs the guest again after the destination has begun to',
    rule: 'it is handed over when the destination has answered that it can, which then waits to be told that it may',
    shownBy: [
      ['migration/migrate.test.ts', 'a destination guest that cannot load fails both sides, and the guest runs on'],
      [
        'migration/destination-handover.test.ts',
        'comes when the guest is loaded, which does not start before the source has let go of it',
      ],
      ['migration/two-processes.test.ts', 'the destination: the source reports it, and does not run the guest again'],
    ],
  },
  {
    trap: 'the order of events in one read is not the order in which they happened',
    rule: 'the events of a batch that change the mapping are looked at before its faults',
    shownBy: [
      [here, 'a fault is read before an older REMOVE'],
      [changes, 'a thread that lets go and touches in turn never sees what the source sends meanwhile'],
    ],
  },
  {
    trap: 'memory that the guest gives away in postcopy (a balloon) is filled with what it held before',
    rule: 'what was removed reads as zero from then on, whatever the source still sends',
    shownBy: [
      [changes, 'a page let go of before it came reads as zero, whatever comes later'],
      [changes, 'a page let go of after it came reads as zero, again and again'],
      [changes, 'who waits for a page that another thread lets go of goes on with zeroes'],
      ['destination/prepare-memory.test.ts', 'discards of others are inhibited from LISTEN until it is put back, once'],
    ],
  },
  {
    trap: 'transparent huge pages fill the missing pages of an area that has come in part',
    rule: 'huge pages are turned off before the discard, and on again where they were when all is there',
    shownBy: [['destination/prepare-memory.test.ts', 'that wanted huge pages gets them again']],
  },
  {
    trap: 'host pages of different sizes at the two ends: a page is asked for that the source does not send whole',
    rule: 'page sizes are compared, block by block, before anything is discarded',
    shownBy: [
      ['migration/huge-destination.test.ts', 'a source whose block has hugepages, where it has small ones here'],
    ],
  },
];

test.each(traps)('$trap: $rule', ({ shownBy }) => {
  expect(shownBy.length).toBeGreaterThan(0);
  for (const [file, title] of shownBy) {
    const text = readFileSync(fileURLToPath(new URL(file, import.meta.url)), 'utf8');
    // As the title of a test, which the table above has none of.
    expect(text.includes(`('${title}`), `test/${file} has a test "${title}…"`).toBe(true);
  }
});

// --- facts of the kernel ------------------------------------------------------------------------

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;
const EVENTS_MAX = 16;

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

function watch(block: RamBlockHandle, features = 0n, mode = c.UFFDIO_REGISTER_MODE_MISSING): UserfaultfdHandle {
  const { handle } = n.userfaultfdOpen('syscall', features);
  cleanups.push(() => n.userfaultfdClose(handle));
  n.userfaultfdRegister(handle, block, 0, n.ramBlockInfo(block).size, mode);
  return handle;
}

/** Kinds and page indexes of the events of one read; none within 10 seconds. */
function read(uffd: UserfaultfdHandle, block: RamBlockHandle): { kind: number; page: number }[] {
  const kick = n.eventfdCreate();
  const words = new Float64Array(EVENTS_MAX * c.EVENT_WORDS);
  const count = n.readEvents(uffd, kick, words, 10_000);
  n.eventfdClose(kick);
  const { address } = n.ramBlockInfo(block);
  return Array.from({ length: count }, (_, i) => ({
    kind: words[i * c.EVENT_WORDS + c.EVENT_KIND],
    page: Math.floor((words[i * c.EVENT_WORDS + c.EVENT_ADDRESS] - address) / PAGE),
  }));
}

/** Places pages that hold their number, plus `more`, in every byte. */
function place(uffd: UserfaultfdHandle, block: RamBlockHandle, pages: readonly number[], more = 1): number[] {
  const arena = new Uint8Array(pages.length * PAGE);
  for (const [i, page] of pages.entries()) arena.fill(page + more, i * PAGE, (i + 1) * PAGE);
  const offsets = Uint32Array.from(pages, (_, i) => i * PAGE);
  const outcomes = new Uint8Array(pages.length);
  n.placePages(uffd, block, PAGE, Uint32Array.from(pages), pages.length, arena, offsets, 0, outcomes);
  return [...outcomes];
}

/** The first byte of a page, read in a thread of its own, which may wait. */
function touch(name: string, block: RamBlockHandle, page: number) {
  return onThread(name, { block, offset: page * PAGE }, (n, { block, offset }) => {
    const byte = new Uint8Array(1);
    n.ramBlockRead(block, offset, byte);
    return byte[0];
  }).result;
}

/** Discards two pages in a thread of its own; resolved once that waits for its REMOVE event to be read. */
async function discard(block: RamBlockHandle, page: number): Promise<{ done: Promise<void> }> {
  const { result } = onThread('traps/discard', { block, offset: page * PAGE, length: 2 * PAGE }, (n, range) =>
    n.ramBlockDiscard(range.block, Float64Array.of(range.offset, range.length), 1),
  );
  await until('the discard waits', () => systemCallOf('traps/discard') === blockedIn.madvise);
  return { done: result };
}

const pages = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

test('a run that a REMOVE interrupts is placed in part, and the rest is RETRY', async () => {
  const block = makeBlock(c.MEMORY_ANONYMOUS, 16);
  const uffd = watch(block, c.UFFD_FEATURE_EVENT_REMOVE);
  place(uffd, block, [12, 13]);
  // The copy's own source is missing from its fifth page on: there it waits, in the middle of the ioctl.
  const arena = makeBlock(c.MEMORY_ANONYMOUS, 8);
  const arenaUffd = watch(arena);
  place(arenaUffd, arena, pages(0, 4));
  const { result: outcomes } = onThread('traps/copy', { uffd, block, arena }, (n, { uffd, block, arena }) => {
    const pageSize = n.constants.HOST_PAGE_SIZE;
    const eight = Uint32Array.from({ length: 8 }, (_, i) => i);
    const view = new Uint8Array(n.ramBlockBuffer(arena));
    const found = new Uint8Array(8);
    n.placePages(
      uffd,
      block,
      pageSize,
      eight,
      8,
      view,
      eight.map((i) => i * pageSize),
      0,
      found,
    );
    return [...found];
  });
  expect(read(arenaUffd, arena)).toEqual([{ kind: c.UFFD_EVENT_PAGEFAULT, page: 4 }]);
  const { done } = await discard(block, 12);
  place(arenaUffd, arena, pages(4, 4));
  expect(await outcomes).toEqual([...Array(4).fill(c.OUTCOME_PLACED), ...Array(4).fill(c.OUTCOME_RETRY)]);
  expect(read(uffd, block)).toEqual([{ kind: c.UFFD_EVENT_REMOVE, page: 12 }]);
  await done;
  expect(place(uffd, block, pages(4, 4))).toEqual(Array(4).fill(c.OUTCOME_PLACED));
  const view = new Uint8Array(n.ramBlockBuffer(block));
  expect(pages(0, 8).map((page) => view[page * PAGE])).toEqual(pages(1, 8));
});

test.each([
  ['anonymous', c.MEMORY_ANONYMOUS],
  ['memfd', c.MEMORY_MEMFD],
])('a WAKE alone installs nothing: the thread faults again (%s)', async (_kind, kind) => {
  const block = makeBlock(kind, 4);
  const uffd = watch(block);
  const touched = touch('traps/wake', block, 2);
  for (let round = 0; round < 3; round += 1) {
    expect(read(uffd, block)).toEqual([{ kind: c.UFFD_EVENT_PAGEFAULT, page: 2 }]);
    await until('the thread waits', () => isInFault('traps/wake'));
    n.userfaultfdWake(uffd, block, 2 * PAGE, PAGE);
  }
  expect(read(uffd, block)).toHaveLength(1);
  place(uffd, block, [2], 40);
  expect(await touched).toBe(42);
});

test('a minor fault is not ended by a WAKE either, but by CONTINUE', async () => {
  const block = makeBlock(c.MEMORY_MEMFD, 4);
  new Uint8Array(n.ramBlockBuffer(block)).fill(7);
  n.ramBlockAdvise(block, c.MADV_DONTNEED, 0, 4 * PAGE); // the page table entries go, the pages stay
  const uffd = watch(block, c.UFFD_FEATURE_MINOR_SHMEM, c.UFFDIO_REGISTER_MODE_MINOR);
  const touched = touch('traps/minor', block, 1);
  expect(read(uffd, block)).toEqual([{ kind: c.UFFD_EVENT_PAGEFAULT, page: 1 }]);
  await until('the thread waits', () => isInFault('traps/minor'));
  n.userfaultfdWake(uffd, block, PAGE, PAGE);
  expect(read(uffd, block)).toEqual([{ kind: c.UFFD_EVENT_PAGEFAULT, page: 1 }]);
  n.userfaultfdContinue(uffd, block, PAGE, PAGE);
  expect(await touched).toBe(7);
});

test.each([
  ['closing', n.userfaultfdClose],
  [
    'unregistering from',
    (uffd: UserfaultfdHandle, block: RamBlockHandle) => n.userfaultfdUnregister(uffd, block, 0, 4 * PAGE),
  ],
])('%s a userfaultfd turns the pages that are missing into zeroes', async (_what, end) => {
  const block = makeBlock(c.MEMORY_ANONYMOUS, 4);
  const { handle: uffd } = n.userfaultfdOpen('syscall', 0n);
  n.userfaultfdRegister(uffd, block, 0, 4 * PAGE, c.UFFDIO_REGISTER_MODE_MISSING);
  place(uffd, block, [0]);
  const touched = touch('traps/close', block, 3);
  await until('the thread waits', () => isInFault('traps/close'));
  end(uffd, block);
  // What should have been the page's last content: nobody is told that it never came.
  expect(await touched).toBe(0);
  expect(new Uint8Array(n.ramBlockBuffer(block))[0]).toBe(1);
});

test('a fault is read before an older REMOVE', async () => {
  const block = makeBlock(c.MEMORY_ANONYMOUS, 8);
  const uffd = watch(block, c.UFFD_FEATURE_EVENT_REMOVE);
  place(uffd, block, [4, 5]);
  const { done } = await discard(block, 4);
  const touched = touch('traps/order', block, 1);
  await until('the thread waits', () => isInFault('traps/order'));
  expect(read(uffd, block)).toEqual([
    { kind: c.UFFD_EVENT_PAGEFAULT, page: 1 },
    { kind: c.UFFD_EVENT_REMOVE, page: 4 },
  ]);
  await done;
  place(uffd, block, [1]);
  expect(await touched).toBe(2);
});
