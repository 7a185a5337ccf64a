/** The file that all sources map: what it holds, how a difference from it is found, and another in its place. */
import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findDifference, MemoryImage } from '../../bench/memory-image.ts';

const PAGE = 4096;
/** Runs of 200 pages of content and of zeroes, and an odd end. */
const PAGES = 402;

const isZero = (page: Uint8Array): boolean => page.every((byte) => byte === 0);
const pagesOf = (bytes: Uint8Array): Uint8Array[] =>
  Array.from({ length: bytes.length / PAGE }, (_, index) => bytes.subarray(index * PAGE, (index + 1) * PAGE));

/** Of the whole image, and what is in `bytes`. */
const differenceOf = ({ path, bytes: size }: MemoryImage, bytes: Buffer): Promise<number> =>
  findDifference(path, 0, size, (target, at) => bytes.copy(target, 0, at, at + target.length));

test('an image holds what is asked for, and a page that differs is found', async () => {
  using image = await MemoryImage.create(PAGES * PAGE, 'half-zero');
  const bytes = readFileSync(image.path);
  expect(pagesOf(bytes).map(isZero)).toEqual(Array.from({ length: PAGES }, (_, page) => page >= 200 && page < 400));
  expect(await differenceOf(image, bytes)).toBe(-1);
  bytes[401 * PAGE + 7] ^= 1;
  expect(await differenceOf(image, bytes)).toBe(401 * PAGE);
});

test('an image that another file replaces reads and goes as before, and leaves that file', async () => {
  using other = await MemoryImage.create(PAGE, 'incompressible');
  const image = await MemoryImage.create(PAGE, 'incompressible');
  const file = join(other.folder, 'kept');
  copyFileSync(image.path, file);
  image.replaceBy(file);
  expect(await differenceOf(image, readFileSync(file))).toBe(-1);
  image[Symbol.dispose]();
  expect(existsSync(image.folder)).toBe(false);
  expect(existsSync(file)).toBe(true);
});
