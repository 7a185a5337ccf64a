/** The programme that touches a destination's memory: every page of it, and a wait is one that was not there. */
import { expect, test } from 'vitest';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { Toucher } from '../../bench/toucher.ts';

const PAGE = 4096;
const PAGES = 65;

const pagesThere = ({ handle, size }: RAMBlock): number =>
  native().countPages(handle, 0, size, native().constants.PAGE_IS_PRESENT);

test.each([
  { threads: 1, order: 'sequential' },
  { threads: 4, order: 'random' },
] as const)('every page is touched once, $order, by $threads', { timeout: 60_000 }, async (options) => {
  using block = RAMBlock.create({ idstr: 'ram', size: PAGES * PAGE });
  const there = [3, 4, 40];
  for (const page of there) native().ramBlockWrite(block.handle, page * PAGE, Uint8Array.of(1));
  await using toucher = await Toucher.start(process.pid, block.size, options);
  expect(pagesThere(block)).toBe(there.length);
  const { allMs, waits, p50Us, p90Us, p99Us, p999Us, mostUs } = await toucher.touchAll(block.address);
  expect(pagesThere(block)).toBe(PAGES);
  expect(waits).toBe(PAGES - there.length);
  const times = [p50Us, p90Us, p99Us, p999Us, mostUs];
  expect(times[0]).toBeGreaterThan(0);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(allMs * 1000).toBeGreaterThanOrEqual(mostUs);
});

test('memory that is not there is told', { timeout: 60_000 }, async () => {
  await using toucher = await Toucher.start(process.pid, PAGE, { threads: 1, order: 'random' });
  await expect(toucher.touchAll(0)).rejects.toThrow('process_vm_readv: Bad address');
});
