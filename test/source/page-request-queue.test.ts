/** Page requests: what passes the check, and the queue between the two threads. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RAMBlockDescriptor } from '#lib/memory/ram-block.js';
import type { RamBlockHandle } from '#lib/native.js';
import { checkPageRequest, type PageRequest, PageRequestQueue } from '#lib/source/page-request-queue.js';
import { onLibThread } from '../../testing/lib-thread.ts';

const HUGE_PAGE = 2 ** 21;

const descriptor = (pages: number, pageSize: number): RAMBlockDescriptor => ({
  idstr: 'ram',
  handle: 1 as RamBlockHandle,
  size: pages * pageSize,
  pageSize,
  kind: 'anonymous',
  address: 2 ** 46,
});

/** A block, and a range in whole host pages, in target pages, or in bytes, near its ends or anywhere. */
const requests = fc
  .record({ pages: fc.integer({ min: 1, max: 40 }), pageSize: fc.constantFrom(4096, HUGE_PAGE) })
  .chain(({ pages, pageSize }) => {
    const unit = fc.constantFrom(pageSize, pageSize, 4096, 1);
    const position = (unitBytes: number) =>
      fc.oneof(
        fc.integer({ min: 0, max: pages + 2 }).map((page) => page * pageSize),
        fc.integer({ min: 0, max: ((pages + 1) * pageSize) / unitBytes }).map((count) => count * unitBytes),
        fc.constant(2 ** 52),
      );
    return unit.chain((bytes) =>
      fc.record({ block: fc.constant(descriptor(pages, pageSize)), start: position(bytes), length: position(bytes) }),
    );
  });

test('exactly whole host pages inside the block pass, and come out as target pages (property)', () => {
  fc.assert(
    fc.property(requests, ({ block, start, length }) => {
      const isWhole = start % block.pageSize === 0 && length % block.pageSize === 0;
      const isInside = length > 0 && start + length <= block.size;
      if (isWhole && isInside) {
        expect(checkPageRequest(block, start, length)).toEqual({ firstPage: start / 4096, pageCount: length / 4096 });
      } else {
        expect(() => checkPageRequest(block, start, length)).toThrow(
          expect.objectContaining({
            code: 'STREAM_CORRUPT',
            record: 'REQ_PAGES',
            message: expect.stringContaining(`${length} bytes at ${start}`),
          }),
        );
      }
    }),
    { numRuns: 1000 },
  );
});

describe('the queue', () => {
  test('gives requests back first-in first-out, and then none', () => {
    const queue = new PageRequestQueue();
    const given = Array.from({ length: 100 }, (_, i) => ({
      blockIndex: i % 3,
      firstPage: i * 7,
      pageCount: (i % 5) + 1,
    }));
    for (const { blockIndex, firstPage, pageCount } of given) queue.push(blockIndex, firstPage, pageCount);
    expect(queue.length).toBe(100);
    const request: PageRequest = { blockIndex: -1, firstPage: -1, pageCount: -1 };
    const taken = given.map(() => {
      expect(queue.shift(request)).toBe(true);
      return { ...request };
    });
    expect(taken).toEqual(given);
    expect(queue.shift(request)).toBe(false);
    expect(request).toEqual(given.at(-1)); // left as it was
  });

  const nearby = fc.array(
    fc.record({
      blockIndex: fc.integer({ min: 0, max: 1 }),
      firstPage: fc.integer({ min: 0, max: 12 }),
      pageCount: fc.integer({ min: 1, max: 4 }),
    }),
    { maxLength: 40 },
  );

  test('takes neighbours and repeats as one, which has exactly their pages and begins as the oldest (property)', () => {
    fc.assert(
      fc.property(nearby, (given) => {
        const queue = new PageRequestQueue();
        for (const { blockIndex, firstPage, pageCount } of given) queue.push(blockIndex, firstPage, pageCount);
        const request: PageRequest = { blockIndex: 0, firstPage: 0, pageCount: 0 };
        let at = 0;
        while (queue.shift(request)) {
          const end = given.length - queue.length;
          const together = given.slice(at, end);
          expect(request.firstPage).toBe(together[0].firstPage);
          const pages = new Set(
            together.flatMap(({ firstPage, pageCount }) => Array.from({ length: pageCount }, (_, i) => firstPage + i)),
          );
          expect([...pages].sort((a, b) => a - b)).toEqual(
            Array.from({ length: request.pageCount }, (_, i) => request.firstPage + i),
          );
          expect(together.every(({ blockIndex }) => blockIndex === request.blockIndex)).toBe(true);
          const next = given.at(end);
          const touches =
            next !== undefined &&
            next.blockIndex === request.blockIndex &&
            next.firstPage >= request.firstPage &&
            next.firstPage <= request.firstPage + request.pageCount;
          expect(touches).toBe(false);
          at = end;
        }
        expect(at).toBe(given.length);
      }),
    );
  });

  test('is filled by another thread, more than it holds, and drops nothing', async () => {
    const COUNT = 10_000;
    const queue = new PageRequestQueue();
    const producer = onLibThread(
      'test/requests',
      { queue: '#lib/source/page-request-queue.js' },
      { buffer: queue.buffer, count: COUNT },
      (lib: { queue: typeof import('#lib/source/page-request-queue.js') }, data) => {
        const mine = new lib.queue.PageRequestQueue(data.buffer);
        for (let i = 0; i < data.count; i += 1) mine.push(1, i * 3, 2);
        return mine.push(0, 0, 1);
      },
    );
    const request: PageRequest = { blockIndex: 0, firstPage: 0, pageCount: 0 };
    const wrong: number[] = [];
    for (let i = 0; i < COUNT; i += 1) {
      while (!queue.shift(request)) await new Promise(setImmediate);
      if (request.firstPage !== i * 3 || request.blockIndex !== 1 || request.pageCount !== 2) wrong.push(i);
    }
    expect(wrong).toEqual([]);
    expect(await producer.result).toBe(true);
  });

  test('takes no more once it is closed', () => {
    const queue = new PageRequestQueue();
    queue.close();
    expect(queue.push(0, 0, 1)).toBe(false);
    expect(queue.length).toBe(0);
  });
});
