/** Memory that is written at will: as many pages as were asked for, and a log of them that has no other. */

import { expect, test } from 'vitest';
import { probeKvm } from '#lib/host/kvm.js';
import { type DirtiedMemory, kvmMemory, protectedMemory } from '../../bench/dirtied-memory.ts';

const MIB = 1024 * 1024;
const BYTES = 9 * MIB;
const PAGE = 4096;
/** The first MiB is not written. */
const WORK_PAGES = 2048;

async function writtenPages(memory: DirtiedMemory, count: number): Promise<readonly number[]> {
  const log = memory.startLog();
  try {
    log.sync(memory.dirty);
    for (const pages of memory.dirty) pages.clearRange(0, pages.pageCount);
    await memory.write(count);
    expect(log.sync(memory.dirty)).toBe(count);
    const [pages] = memory.dirty;
    return Array.from({ length: BYTES / PAGE }, (_, page) => page).filter((page) => pages.test(page));
  } finally {
    log.stop();
  }
}

test.each([1, 20, WORK_PAGES])('%i pages, written by this process', async (count) => {
  using memory = protectedMemory(BYTES);
  expect(memory.pages).toBe(WORK_PAGES);
  const pages = await writtenPages(memory, count);
  const stride = Math.floor(WORK_PAGES / count);
  expect(pages).toEqual(Array.from({ length: count }, (_, index) => MIB / PAGE + index * stride));
});

test.runIf(probeKvm().available).each([1, 20, WORK_PAGES])('%i pages, written by a vCPU, twice', async (count) => {
  using memory = kvmMemory(BYTES);
  expect(memory.pages).toBe(WORK_PAGES);
  const stride = Math.floor(WORK_PAGES / count);
  const expected = Array.from({ length: count }, (_, index) => MIB / PAGE + index * stride);
  expect(await writtenPages(memory, count)).toEqual(expected);
  expect(await writtenPages(memory, count)).toEqual(expected);
});
