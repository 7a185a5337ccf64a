/** Pages of two connections into one memory: each once, whichever it comes over; what is not placed is forgotten. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { createDestinationSignals } from '#lib/destination/destination-signals.js';
import { FaultLatency } from '#lib/destination/fault-latency.js';
import { PageIntake } from '#lib/destination/page-intake.js';
import { PageRequested } from '#lib/destination/page-requested.js';
import { RemovedPages } from '#lib/destination/removed-pages.js';
import { RAMBlock } from '#lib/index.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native, type UserfaultfdHandle } from '#lib/native.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';
import type { PageRecord } from '#lib/wire/messages.js';

const PAGE = 4096;
const PAGES = 8;
const n = native();

let block: RAMBlock;
let uffd: UserfaultfdHandle;
let arena: Uint8Array;
let received: PageBitmap;
let intakes: readonly PageIntake[];

beforeEach(() => {
  block = RAMBlock.create({ idstr: 'ram', size: PAGES * PAGE });
  uffd = openUserfaultfd(0n).handle;
  n.userfaultfdRegister(uffd, block.handle, 0, block.size, n.constants.UFFDIO_REGISTER_MODE_MISSING);
  arena = new Uint8Array(new SharedArrayBuffer(PAGES * PAGE));
  for (let page = 0; page < PAGES; page += 1) arena.fill(page + 1, page * PAGE, (page + 1) * PAGE);
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
    return new PageIntake({ signals: signals.buffer, counters, latency, blocktime: undefined }, memory, arena, trace);
  });
});
afterEach(() => {
  n.userfaultfdClose(uffd);
  block.close();
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
