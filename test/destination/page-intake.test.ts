/**
 * Pages of two connections into one memory: each once, whichever it comes over; what is not placed is forgotten; runs
 * as a whole.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { createDestinationSignals } from '#lib/destination/destination-signals.js';
import { FaultLatency } from '#lib/destination/fault-latency.js';
import { HugePage } from '#lib/destination/huge-page.js';
import { PageIntake, type RunReader } from '#lib/destination/page-intake.js';
import { PageRequested } from '#lib/destination/page-requested.js';
import { RemovedPages } from '#lib/destination/removed-pages.js';
import { RAMBlock } from '#lib/index.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native, type UserfaultfdHandle } from '#lib/native.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';
import type { PageRecord, PageRunRecord } from '#lib/wire/messages.js';

const PAGE = 4096;
const HUGE_PAGES = 512;
const PAGES = 2 * HUGE_PAGES;
/** Of a plain page's content in the arena. */
const ARENA_PAGES = 8;
const n = native();

let block: RAMBlock;
let uffd: UserfaultfdHandle;
let arena: Uint8Array;
let received: PageBitmap;
let hugePage: HugePage;
let intakes: readonly PageIntake[];

beforeEach(() => {
  hugePage = new HugePage();
  block = RAMBlock.create({ idstr: 'ram', size: PAGES * PAGE });
  uffd = openUserfaultfd(0n).handle;
  n.userfaultfdRegister(uffd, block.handle, 0, block.size, n.constants.UFFDIO_REGISTER_MODE_MISSING);
  arena = new Uint8Array(new SharedArrayBuffer(ARENA_PAGES * PAGE));
  for (let page = 0; page < ARENA_PAGES; page += 1) arena.fill(page + 1, page * PAGE, (page + 1) * PAGE);
  const signals = createDestinationSignals();
  signals.set('USERFAULTFD', uffd);
  received = new PageBitmap(PAGES);
  const memory = {
    blocks: [block.descriptor],
    received: [received.buffer],
    arrived: [new PageBitmap(PAGES).buffer],
    requested: new PageRequested([block.size]).descriptor,
    removed: new RemovedPages([block.size]).descriptor,
  };
  const latency = new FaultLatency().buffer;
  const trace = new Trace({ words: createTraceWords(), ring: undefined });
  intakes = [0, 1].map(() => {
    const counters = createDestinationCounters().buffer;
    const accounts = { signals: signals.buffer, counters, latency, blocktime: undefined };
    return new PageIntake(accounts, memory, arena, trace, hugePage);
  });
});
afterEach(() => {
  n.userfaultfdClose(uffd);
  block.close();
  hugePage.close();
});

const record = (page: number): PageRecord => ({
  type: 'page',
  kind: 'normal',
  block: { index: 0, idstr: 'ram', usedLength: PAGES * PAGE },
  offset: page * PAGE,
  fill: 0,
  dataStart: page * PAGE,
  dataLength: PAGE,
});

const here = (): number[] => Array.from({ length: PAGES }, (_, page) => page).filter((page) => received.test(page));

test('pages are placed when they are flushed, those of both', () => {
  intakes[0].add(record(1), 0);
  intakes[1].add(record(2), 0);
  expect(here()).toEqual([]);
  for (const intake of intakes) intake.flush();
  expect(here()).toEqual([1, 2]);
  const bytes = new Uint8Array(2 * PAGE);
  n.ramBlockRead(block.handle, PAGE, bytes);
  expect([bytes[0], bytes[2 * PAGE - 1]]).toEqual([2, 3]);
});

test('a page that comes over both, placed by then or not, is an error', () => {
  const again = (page: number) => () => intakes[1].add(record(page), 4711);
  const twice = expect.objectContaining({
    code: 'STREAM_CORRUPT',
    offset: 4711,
    message: expect.stringMatching(/page 3 of RAM block ram comes a second time at offset 4711/),
  });
  intakes[0].add(record(3), 0);
  expect(again(3)).toThrow(twice);
  intakes[0].flush();
  expect(again(3)).toThrow(twice);
});

test('what was dropped is not placed, and may come again once what is missing is expected', () => {
  intakes[0].add(record(5), 0);
  intakes[1].add(record(6), 0);
  intakes[1].flush();
  for (const intake of intakes) intake.dropUnfinished();
  intakes[0].flush();
  expect(here()).toEqual([6]);
  intakes[0].expectMissing();
  intakes[1].add(record(5), 0);
  intakes[1].flush();
  expect(here()).toEqual([5, 6]);
  expect(() => intakes[0].add(record(6), 0)).toThrow(expect.objectContaining({ code: 'STREAM_CORRUPT' }));
});

describe('runs', () => {
  const run = (kind: 'normal' | 'zero', first: number, pages: number): PageRunRecord => ({
    type: 'page-run',
    kind,
    block: { index: 0, idstr: 'ram', usedLength: PAGES * PAGE },
    offset: first * PAGE,
    pages,
  });
  const upTo = (first: number, end: number): number[] => Array.from({ length: end - first }, (_, i) => first + i);

  /** A reader whose bytes are all `fill`; `taken`: what was taken of it. */
  function reader(fill = 0): RunReader & { readonly taken: (number | 'run')[] } {
    const taken: (number | 'run')[] = [];
    return {
      recordOffset: 99,
      taken,
      takeRun: () => void taken.push('run'),
      takeRunBytes: (target, length) => {
        target.fill(fill, 0, length);
        taken.push(length);
      },
    };
  }

  test('a huge page is received and moved in whole, in front of it whatever came before', () => {
    const bytes = reader(0x5a);
    intakes[0].add(record(2), 0);
    expect(intakes[0].addRun(run('normal', HUGE_PAGES, HUGE_PAGES), bytes)).toBe(true);
    expect(bytes.taken).toEqual(['run', HUGE_PAGES * PAGE]);
    expect(here()).toEqual([2, ...upTo(HUGE_PAGES, PAGES)]);
    const content = new Uint8Array(HUGE_PAGES * PAGE);
    n.ramBlockRead(block.handle, HUGE_PAGES * PAGE, content);
    expect(content.every((byte) => byte === 0x5a)).toBe(true);
  });

  test('a huge page of which the guest has a part by other means is copied around that', () => {
    const one = new Uint8Array(1);
    n.placeZeroPages(uffd, block.handle, PAGE, Uint32Array.of(7), 1, one);
    expect(intakes[0].addRun(run('normal', 0, HUGE_PAGES), reader(0x5a))).toBe(true);
    expect(here()).toEqual(upTo(0, HUGE_PAGES));
    for (const [page, byte] of [
      [6, 0x5a],
      [7, 0],
      [8, 0x5a],
      [511, 0x5a],
    ]) {
      n.ramBlockRead(block.handle, page * PAGE, one);
      expect(one[0], `page ${page}`).toBe(byte);
    }
  });

  test('zeroes are placed as a run', () => {
    const bytes = reader();
    expect(intakes[0].addRun(run('zero', 3, 700), bytes)).toBe(true);
    expect(bytes.taken).toEqual(['run']);
    expect(here()).toEqual(upTo(3, 703));
  });

  test('a run of another size is read page by page', () => {
    const bytes = reader();
    expect(intakes[0].addRun(run('normal', 0, 100), bytes)).toBe(false);
    expect(intakes[0].addRun(run('normal', 1, HUGE_PAGES), bytes)).toBe(false);
    expect(bytes.taken).toEqual([]);
  });

  test.each(['normal', 'zero'] as const)('a run of which one page has come is an error: %s', (kind) => {
    intakes[1].add(record(5), 0);
    const bytes = reader();
    expect(() => intakes[0].addRun(run(kind, 0, HUGE_PAGES), bytes)).toThrow(
      expect.objectContaining({ code: 'STREAM_CORRUPT', message: expect.stringMatching(/page 5 .* at offset 99/) }),
    );
    expect(bytes.taken).toEqual([]);
  });
});
