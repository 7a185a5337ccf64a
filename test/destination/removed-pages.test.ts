/** Marks of removed pages, as two threads share them. What for: test/migration/guest-changes-memory.test.ts. */
import { expect, test } from 'vitest';
import { RemovedPages } from '#lib/destination/removed-pages.js';

const SIZES = [40 * 4096, 4096];

test('what one thread marks, another finds, by block', () => {
  const faultThread = new RemovedPages(SIZES);
  const listenThread = new RemovedPages(SIZES, structuredClone(faultThread.descriptor));
  expect(listenThread.any).toBe(false);
  faultThread.mark(0, 30, 5);
  expect(listenThread.any).toBe(true);
  const marked = Array.from({ length: 40 }, (_, page) => page).filter((page) => listenThread.has(0, page));
  expect(marked).toEqual([30, 31, 32, 33, 34]);
  expect(listenThread.has(1, 0)).toBe(false);
});

test('the lock is one lock', () => {
  const one = new RemovedPages(SIZES);
  const other = new RemovedPages(SIZES, one.descriptor);
  expect(other.lock.buffer).toBe(one.lock.buffer);
});
