/** The page of a vCPU: what is written for its programme, and what is read of it. */
import { expect, test } from 'vitest';
import { decodeProgress, encodeOwnPage, HISTOGRAM_BUCKETS, OWN_PAGE_WORDS_BYTES } from '#lib/guest/kvm/own-page.js';

test('a task has its pages counted, and a mask that no page number exceeds', () => {
  for (const [pages, mask] of [
    [1, 0],
    [2, 1],
    [3, 3],
    [64, 63],
    [65, 127],
  ]) {
    const bytes = encodeOwnPage({ first: 0x100_000, end: 0x100_000 + pages * 4096, interval: 7, report: 2 });
    const words = new Uint32Array(bytes.buffer);
    expect([...words.subarray(0, 4)]).toEqual([0x100_000, 0x100_000 + pages * 4096, 7, 2]);
    expect([words[0x2c / 4], words[0x30 / 4]]).toEqual([pages, mask]);
    expect(decodeProgress(bytes)).toMatchObject({ done: 0, badPages: 0, lostWrites: 0, maxCycles: 0 });
  }
});

test('progress is read of where the programmes put it', () => {
  const words = new Uint32Array(OWN_PAGE_WORDS_BYTES / 4);
  words.set([5, 3, 11, 12], 0x10 / 4);
  words[0x34 / 4] = 99;
  words[OWN_PAGE_WORDS_BYTES / 4 - 1] = 4;
  const progress = decodeProgress(new Uint8Array(words.buffer));
  expect(progress).toMatchObject({ done: 3 * 2 ** 32 + 5, badPages: 11, lostWrites: 12, maxCycles: 99 });
  expect(progress.histogram[HISTOGRAM_BUCKETS - 1]).toBe(4);
});
