/** Host pages put together from target pages: whole, in order, or not at all. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findPartialHostPage, HostPageAssembly } from '#lib/destination/host-page.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import type { PageRecord } from '#lib/wire/messages.js';

const PAGE = 4096;
const PER_HOST_PAGE = 4;

interface Installed {
  readonly block: number;
  readonly hostPage: number;
  /** The first byte of each target page; undefined where the page was installed as all zero. */
  readonly bytes: readonly number[] | undefined;
}

function assembly(pageSizes: readonly number[] = [PER_HOST_PAGE * PAGE, PAGE, PER_HOST_PAGE * PAGE]) {
  const installed: Installed[] = [];
  const firstBytes = (content: Uint8Array) =>
    Array.from({ length: PER_HOST_PAGE }, (_, i) => {
      expect(new Set(content.subarray(i * PAGE, (i + 1) * PAGE)).size).toBe(1);
      return content[i * PAGE];
    });
  const host = new HostPageAssembly(pageSizes, {
    hostPage: (block, hostPage, content) => installed.push({ block, hostPage, bytes: firstBytes(content) }),
    zeroHostPage: (block, hostPage) => installed.push({ block, hostPage, bytes: undefined }),
  });
  const arena = new Uint8Array(2 * PAGE);
  const add = (block: number, page: number, what: number, kind: PageRecord['kind'] = what < 10 ? 'zero' : 'normal') => {
    arena.fill(what, 100, 100 + PAGE);
    const entry = { index: block, idstr: `ram${block}`, usedLength: 2 ** 40 };
    const content =
      kind === 'normal' ? { fill: 0, dataStart: 100, dataLength: PAGE } : { fill: what, dataStart: 0, dataLength: 0 };
    host.add({ type: 'page', kind, block: entry, offset: page * PAGE, ...content }, arena, 1234);
    arena.fill(0xee); // it is copied at once: the arena is filled again
  };
  return { host, installed, add };
}

test('takes blocks of large pages only', () => {
  const { host } = assembly();
  expect([0, 1, 2].map((block) => host.takes(block))).toEqual([true, false, true]);
});

test('installs a host page with its last target page, and not before', () => {
  const { installed, add } = assembly();
  for (const page of [8, 9, 10]) add(0, page, 100 + page);
  expect(installed).toEqual([]);
  add(0, 11, 7);
  expect(installed).toEqual([{ block: 0, hostPage: 2, bytes: [108, 109, 110, 7] }]);
});

test('any sequence of host pages of any blocks arrives as it was sent (property)', () => {
  const hostPages = fc.array(
    fc.record({
      block: fc.constantFrom(0, 2),
      hostPage: fc.integer({ min: 0, max: 2 ** 28 }),
      bytes: fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 255 })), {
        minLength: PER_HOST_PAGE,
        maxLength: PER_HOST_PAGE,
      }),
    }),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(hostPages, (sent) => {
      const { installed, add } = assembly();
      for (const { block, hostPage, bytes } of sent) {
        for (const [i, byte] of bytes.entries()) add(block, hostPage * PER_HOST_PAGE + i, byte);
      }
      expect(installed).toEqual(
        sent.map(({ block, hostPage, bytes }) => ({
          block,
          hostPage,
          bytes: bytes.every((byte) => byte === 0) ? undefined : bytes,
        })),
      );
    }),
  );
});

describe('a page out of its turn is STREAM_CORRUPT, naming offset and page', () => {
  test.each<[string, [block: number, page: number][]]>([
    ['a host page that begins in the middle', [[0, 5]]],
    [
      'a gap',
      [
        [0, 4],
        [0, 6],
      ],
    ],
    [
      'the same page twice',
      [
        [0, 4],
        [0, 4],
      ],
    ],
    [
      'backwards',
      [
        [0, 4],
        [0, 5],
        [0, 4],
      ],
    ],
    [
      'another host page before the end',
      [
        [0, 4],
        [0, 5],
        [0, 8],
      ],
    ],
    [
      'another block before the end',
      [
        [0, 4],
        [0, 5],
        [2, 6],
      ],
    ],
    [
      'the page behind it, too early',
      [
        [0, 4],
        [0, 5],
        [0, 6],
        [0, 8],
      ],
    ],
  ])('%s', (_what, pages) => {
    const { installed, add } = assembly();
    const [block, page] = pages[pages.length - 1];
    for (const [before, at] of pages.slice(0, -1)) add(before, at, 1);
    expect(() => add(block, page, 1)).toThrow(
      expect.objectContaining({
        code: 'STREAM_CORRUPT',
        offset: 1234,
        record: 'page',
        message: expect.stringContaining(`page ${page} of RAM block ram${block} at offset 1234`),
      }),
    );
    expect(installed).toEqual([]);
  });

  test('a packed page is UNSUPPORTED', () => {
    const { add } = assembly();
    expect(() => add(0, 0, 0, 'compressed')).toThrow(expect.objectContaining({ code: 'UNSUPPORTED', offset: 1234 }));
  });
});

describe('findPartialHostPage', () => {
  test('finds the first host page that is not all or nothing (property)', () => {
    const bits = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(bits, fc.boolean(), (bits, uniform) => {
        const hostPages = Math.ceil(bits.length / PER_HOST_PAGE);
        const isSet = (page: number): boolean =>
          bits[uniform ? Math.floor(page / PER_HOST_PAGE) : page % bits.length] ?? false;
        const pages = new PageBitmap(hostPages * PER_HOST_PAGE);
        const perHostPage = Array.from({ length: hostPages }, () => 0);
        for (let page = 0; page < pages.pageCount; page += 1) {
          if (!isSet(page)) continue;
          pages.set(page);
          perHostPage[Math.floor(page / PER_HOST_PAGE)] += 1;
        }
        expect(findPartialHostPage(pages, PER_HOST_PAGE * PAGE)).toBe(
          perHostPage.findIndex((count) => count !== 0 && count !== PER_HOST_PAGE),
        );
      }),
    );
  });
});
