/** What a page request means for this guest, and which ones are refused. */
import { beforeEach, expect, test } from 'vitest';
import { PageBitmap } from '#lib/memory/bitmap.js';
import type { RAMBlockDescriptor } from '#lib/memory/ram-block.js';
import { RAMList } from '#lib/memory/ram-list.js';
import { MigrationStateCell } from '#lib/source/migration-state.js';
import { RequestedPages } from '#lib/source/requested-pages.js';

const PAGE = 4096;
const block = (idstr: string, pages: number) =>
  ({ idstr, size: pages * PAGE, pageSize: PAGE }) as unknown as RAMBlockDescriptor;

let state: MigrationStateCell;
let requested: RequestedPages;
let asked: PageBitmap[];
beforeEach(() => {
  state = new MigrationStateCell();
  state.move('none', 'setup');
  state.move('setup', 'active');
  state.move('active', 'postcopy-active');
  asked = [new PageBitmap(8), new PageBitmap(4)];
  requested = new RequestedPages(new RAMList([block('a', 8), block('b', 4)]), state, asked);
});

const request = (page: number, pages: number, idstr?: string) =>
  ({ type: 'REQ_PAGES', start: page * PAGE, length: pages * PAGE, ...(idstr === undefined ? {} : { idstr }) }) as const;

test('without a name it is of the block named last', () => {
  expect(requested.take(request(1, 2, 'b'), true)).toEqual({ blockIndex: 1, firstPage: 1, pageCount: 2 });
  expect(requested.take(request(3, 1), true)).toEqual({ blockIndex: 1, firstPage: 3, pageCount: 1 });
  expect(requested.take(request(7, 1, 'a'), true)).toEqual({ blockIndex: 0, firstPage: 7, pageCount: 1 });
});

test('what was asked for is marked', () => {
  requested.take(request(1, 2, 'b'), true);
  requested.take(request(7, 1, 'a'), true);
  expect(asked.map((pages) => pages.describeRanges(9))).toEqual(['7', '1-2']);
});

test.each([
  ['of no block', request(0, 1), 'STREAM_CORRUPT'],
  ['of an unknown block', request(0, 1, 'c'), 'STREAM_CORRUPT'],
  ['beyond the block', request(3, 2, 'b'), 'STREAM_CORRUPT'],
  ['of nothing', request(3, 0, 'b'), 'STREAM_CORRUPT'],
])('a request %s is refused', (_what, message, code) => {
  expect(() => requested.take(message, true)).toThrow(expect.objectContaining({ code }));
});

test('so is one that comes where none is due', () => {
  const refused = expect.objectContaining({ code: 'ILLEGAL_COMMAND' });
  expect(() => requested.take(request(0, 1, 'a'), false)).toThrow(refused);
  state.move('postcopy-active', 'completed');
  expect(() => requested.take(request(0, 1, 'a'), true)).toThrow(refused);
});
