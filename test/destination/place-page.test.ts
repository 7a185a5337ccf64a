/** Placing pages in memory that a real userfaultfd watches, also under threads that wait for them. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Blocktime } from '#lib/destination/blocktime.js';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { createDestinationSignals } from '#lib/destination/destination-signals.js';
import { FaultLatency } from '#lib/destination/fault-latency.js';
import { PageRequested } from '#lib/destination/page-requested.js';
import { PlacePage } from '#lib/destination/place-page.js';
import { RemovedPages } from '#lib/destination/removed-pages.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { type MemoryKind, RAMBlock } from '#lib/memory/ram-block.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native, type UserfaultfdHandle } from '#lib/native.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';
import { isInFault, onThread, until } from '../../testing/native-thread.ts';

const PAGE = 4096;
const PAGES = 64;
const n = native();
const c = n.constants;

describe.each<MemoryKind>(['anonymous', 'memfd'])('%s memory', (kind) => {
  let block: RAMBlock;
  let uffd: UserfaultfdHandle;
  let received: PageBitmap;
  let requested: PageRequested;
  let removed: RemovedPages;
  let latency: FaultLatency;
  let blocktime: Blocktime;
  const arena = new Uint8Array(8 * PAGE);
  const counters = createDestinationCounters();
  const signals = createDestinationSignals();
  let place: PlacePage;

  beforeEach(() => {
    block = RAMBlock.create({ idstr: 'ram', size: PAGES * PAGE, kind });
    uffd = openUserfaultfd(kind === 'memfd' ? c.UFFD_FEATURE_MISSING_SHMEM : 0n).handle;
    n.userfaultfdRegister(uffd, block.handle, 0, block.size, c.UFFDIO_REGISTER_MODE_MISSING);
    received = new PageBitmap(PAGES);
    requested = new PageRequested([block.size]);
    removed = new RemovedPages([block.size]);
    latency = new FaultLatency();
    blocktime = new Blocktime();
    for (const name of counters.names) counters.set(name, 0);
    for (let i = 0; i < arena.length; i += 1) arena[i] = (i * 13 + (i >> 9)) & 0xff;
    place = new PlacePage({
      uffd,
      blocks: [block],
      received: [received],
      requested,
      removed,
      arena,
      counters,
      signals,
      latency,
      blocktime,
      trace: new Trace({ words: createTraceWords(), ring: undefined }),
    });
  });

  afterEach(() => {
    vi.restoreAllMocks();
    n.userfaultfdClose(uffd);
    block.close();
  });

  /** Reads a page without a fault: the test's own thread must never wait for one. */
  function read(page: number): Buffer {
    expect(n.countPages(block.handle, page * PAGE, PAGE, c.PAGE_IS_PRESENT), `page ${page} is there`).toBe(1);
    const bytes = new Uint8Array(PAGE);
    n.ramBlockRead(block.handle, page * PAGE, bytes);
    return Buffer.from(bytes);
  }

  const receivedPages = (): number[] =>
    Array.from({ length: PAGES }, (_, page) => page).filter((page) => received.test(page));

  test('pages are placed from where they lie in the arena', () => {
    const offsets = [0, PAGE, 5 * PAGE, 100];
    place.pages(0, Uint32Array.of(3, 4, 40, 1), 4, Uint32Array.of(...offsets));
    for (const [i, page] of [3, 4, 40, 1].entries()) {
      expect(read(page).equals(arena.subarray(offsets[i], offsets[i] + PAGE)), `page ${page}`).toBe(true);
    }
    expect(receivedPages()).toEqual([1, 3, 4, 40]);
    expect(n.countPages(block.handle, 0, block.size, c.PAGE_IS_PRESENT)).toBe(4);
    expect(counters.snapshot()).toMatchObject({ normal: 4, duplicate: 0, requestsServed: 0 });
  });

  test.each([
    ['all zero', [0, 0, 0]],
    ['mixed', [0, 0x5a, 0]],
    ['none zero', [1, 255, 7]],
  ])('fills are placed as they are: %s', (_what, fills) => {
    place.fills(0, Uint32Array.of(9, 10, 30), 3, Uint8Array.from(fills));
    expect([9, 10, 30].map((page) => [...new Set(read(page))])).toEqual(fills.map((fill) => [fill]));
    expect(receivedPages()).toEqual([9, 10, 30]);
    expect(counters.snapshot()).toMatchObject({ normal: 0, duplicate: 3 });
  });

  test('a run of zeroes is placed but for what is there, and who asked for some of it is served', () => {
    place.pages(0, Uint32Array.of(9), 1, Uint32Array.of(PAGE));
    requested.add(0, 12, n.monotonicUs());
    requested.add(0, 40, n.monotonicUs());
    place.zeroRun(0, 4, 20);
    expect(receivedPages()).toEqual(Array.from({ length: 20 }, (_, i) => 4 + i));
    expect(read(9).equals(arena.subarray(PAGE, 2 * PAGE))).toBe(true);
    expect([...new Set(read(23))]).toEqual([0]);
    expect([requested.findNext(0, 0), counters.get('requestsServed')]).toEqual([40, 1]);
    expect(counters.snapshot()).toMatchObject({ normal: 1, duplicate: 20 });
  });

  test('a page that is there stays as it is, and counts as received', () => {
    place.fills(0, Uint32Array.of(5), 1, Uint8Array.of(0));
    n.ramBlockWrite(block.handle, 5 * PAGE + 7, Uint8Array.of(77)); // the guest runs and writes
    place.pages(0, Uint32Array.of(4, 5, 6), 3, Uint32Array.of(0, PAGE, 2 * PAGE));
    place.fills(0, Uint32Array.of(5), 1, Uint8Array.of(0));
    place.fills(0, Uint32Array.of(5), 1, Uint8Array.of(3));
    const expected = Buffer.alloc(PAGE);
    expected[7] = 77;
    expect(read(5).equals(expected)).toBe(true);
    expect(read(4).equals(arena.subarray(0, PAGE))).toBe(true);
    expect(read(6).equals(arena.subarray(2 * PAGE, 3 * PAGE))).toBe(true);
    expect(receivedPages()).toEqual([4, 5, 6]);
  });

  test('a thread that waits for a page resumes with its content; the fault is measured', async () => {
    const reader = onThread('test/guest', { handle: block.handle, page: 21 }, (nn, { handle, page }) => {
      const bytes = new Uint8Array(4096);
      nn.ramBlockRead(handle, page * 4096, bytes);
      return bytes;
    });
    await until('the guest waits', () => isInFault('test/guest'));
    const faultUs = n.monotonicUs() - 1000;
    requested.add(0, 21, faultUs);
    requested.sent(faultUs + 100);
    place.arrivedUs = faultUs + 700;
    blocktime.setVcpus([77]);
    blocktime.begin(77, 0, 21, faultUs);
    requested.add(0, 22, n.monotonicUs());
    place.pages(0, Uint32Array.of(20, 21), 2, Uint32Array.of(0, 3 * PAGE));
    expect(Buffer.from(await reader.result).equals(arena.subarray(3 * PAGE, 4 * PAGE))).toBe(true);
    expect(counters.get('requestsServed')).toBe(1);
    expect(latency.summary('total').maxUs).toBeGreaterThanOrEqual(1000);
    expect(latency.summary('requestSent').maxUs).toBe(100);
    expect(latency.summary('pageArrived').maxUs).toBe(600);
    expect(latency.summary('pagePlaced').maxUs).toBeGreaterThanOrEqual(300);
    expect(blocktime.overallUs).toBeGreaterThanOrEqual(1000);
    expect(requested.settle(0, 21)).toBeUndefined();
    expect(requested.settle(0, 22)?.faultUs).toBeGreaterThan(0);
  });

  test('received is set only once the page is there', async () => {
    const flags = new SharedArrayBuffer(4);
    const watcher = onThread(
      'test/watcher',
      { handle: block.handle, words: received.words, pages: PAGES, flags },
      (nn, data) => {
        const ready = new Int32Array(data.flags);
        Atomics.store(ready, 0, 1);
        let early = 0;
        for (let page = 0; page < data.pages; page += 1) {
          while (((Atomics.load(data.words, page >>> 5) >>> (page & 31)) & 1) === 0);
          if (nn.countPages(data.handle, page * 4096, 4096, nn.constants.PAGE_IS_PRESENT) !== 1) early += 1;
        }
        return early;
      },
    );
    await until('the watcher runs', () => Atomics.load(new Int32Array(flags), 0) === 1);
    for (let page = 0; page < PAGES; page += 2) {
      place.pages(0, Uint32Array.of(page, page + 1), 2, Uint32Array.of(0, PAGE));
    }
    expect(await watcher.result).toBe(0);
  });

  test('what comes for pages that the guest has let go of is dropped', () => {
    removed.mark(0, 4, 2);
    place.pages(0, Uint32Array.of(3, 4, 5, 6), 4, Uint32Array.of(0, PAGE, 2 * PAGE, 3 * PAGE));
    place.fills(0, Uint32Array.of(5), 1, Uint8Array.of(9));
    expect(receivedPages()).toEqual([3, 6]);
    expect(n.countPages(block.handle, 0, block.size, c.PAGE_IS_PRESENT)).toBe(2);
  });

  test('a mapping that never stops changing is given up at the release', () => {
    vi.spyOn(n, 'placePages').mockImplementation((...call) => {
      call[8].fill(c.OUTCOME_RETRY);
      signals.set('RELEASED', 1);
      return 0;
    });
    const call = () => place.pages(0, Uint32Array.of(8), 1, Uint32Array.of(0));
    expect(call).toThrow(expect.objectContaining({ name: 'Kicked' }));
    signals.set('RELEASED', 0);
  });

  test('a page outside the block throws, and nothing is received', () => {
    expect(() => place.pages(0, Uint32Array.of(1, PAGES), 2, Uint32Array.of(0, 0))).toThrow(RangeError);
    expect(receivedPages()).toEqual([]);
  });

  test('memory that is unregistered meanwhile is GUEST_FAILED, naming page and block', () => {
    n.userfaultfdUnregister(uffd, block.handle, 0, block.size);
    expect(() => place.pages(0, Uint32Array.of(8), 1, Uint32Array.of(0))).toThrow(
      expect.objectContaining({ code: 'GUEST_FAILED', message: expect.stringMatching(/page 8 .*ram/) }),
    );
    expect(receivedPages()).toEqual([]);
  });

  test('a page whose mapping is changing is tried again from there, none twice', () => {
    const tried: number[][] = [];
    const real = n.placePages;
    vi.spyOn(n, 'placePages').mockImplementation((...call) => {
      const [handle, ramBlock, pageSize, pages, count, bytes, offsets, mode, outcomes] = call;
      tried.push([...pages.subarray(0, count)]);
      if (tried.length === 3) return real(...call);
      // The first try gets as far as the first page, the second nowhere.
      const done = tried.length === 1 ? 1 : 0;
      const placed = done === 0 ? 0 : real(handle, ramBlock, pageSize, pages, done, bytes, offsets, mode, outcomes);
      outcomes.fill(c.OUTCOME_RETRY, done, count);
      signals.bump('EVENTS_READ');
      return placed;
    });
    place.pages(0, Uint32Array.of(10, 11, 12, 13), 4, Uint32Array.of(0, PAGE, 2 * PAGE, 3 * PAGE));
    expect(tried).toEqual([
      [10, 11, 12, 13],
      [11, 12, 13],
      [11, 12, 13],
    ]);
    for (const [i, page] of [10, 11, 12, 13].entries()) {
      expect(read(page).equals(arena.subarray(i * PAGE, (i + 1) * PAGE)), `page ${page}`).toBe(true);
    }
    expect(receivedPages()).toEqual([10, 11, 12, 13]);
  });
});
