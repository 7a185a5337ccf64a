/** What is kept of pages for who watches: the owner sees what the threads mark. */
import { expect, test } from 'vitest';
import { PageRequested } from '#lib/destination/page-requested.js';
import { arrivingPages, WatchedPages } from '#lib/destination/watched-pages.js';
import { PageBitmap } from '#lib/memory/bitmap.js';

test('the owner sees what was received, asked for, discarded and faulted, by block', () => {
  const blocks = [
    { idstr: 'a', size: 8 * 4096 },
    { idstr: 'b', size: 64 * 4096 },
  ];
  const sizes = blocks.map(({ size }) => size);
  const watched = new WatchedPages(sizes);
  const received = [new PageBitmap(8), new PageBitmap(64)];
  const requested = new PageRequested(sizes);
  const seen = arrivingPages(blocks, structuredClone(watched.descriptor(received, requested)));
  received[0].set(1);
  requested.add(1, 60, 1);
  watched.discarded[0].setRange(2, 2);
  watched.faulted[1].set(61);
  const ranges = seen.map(({ idstr, ...pages }) => [
    idstr,
    ...[pages.received, pages.requested, pages.discarded, pages.faulted].map((bitmap) => bitmap.describeRanges(9)),
  ]);
  expect(ranges).toEqual([
    ['a', '1', 'none', '2-3', 'none'],
    ['b', 'none', '60', 'none', '61'],
  ]);
});
