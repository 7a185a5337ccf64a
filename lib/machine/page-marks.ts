/**
 * Which pages of a block are in one half of a machine (docs/recovery.md), as a file: a bit for each target page, the
 * first page in the lowest bit of the first byte. Pure.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { invalid } from './manifest.js';

/**
 * What a half of a machine is, by the folder that says which pages are in it: the destination's, what it received; the
 * source's, what the destination may not have.
 */
export const markFolders = ['received', 'remainder'] as const;
export type MarkFolder = (typeof markFolders)[number];

/** The file of the marks of a block that is kept in `file`. */
export const marksFile = (folder: MarkFolder, file: string): string => `${folder}/${file}.bitmap`;

export const marksLength = (pageCount: number): number => Math.ceil(pageCount / 8);

export function encodeMarks({ words, pageCount }: PageBitmap): Uint8Array {
  return Uint8Array.from({ length: marksLength(pageCount) }, (_, at) => words[at >> 2] >>> (8 * (at & 3)));
}

/** Throws MACHINE_INVALID where they are not those of so many pages; `path` is for the message. */
export function decodeMarks(bytes: Uint8Array, pageCount: number, path: string): PageBitmap {
  const length = marksLength(pageCount);
  if (bytes.length !== length)
    throw invalid(path, `has ${bytes.length} bytes, where ${pageCount} pages take ${length}`);
  const marks = new PageBitmap(pageCount);
  for (const [at, byte] of bytes.entries()) marks.words[at >> 2] |= byte << (8 * (at & 3));
  const last = pageCount & 7;
  if (last !== 0 && bytes[length - 1] >> last !== 0)
    throw invalid(path, `marks a page behind the last of ${pageCount}`);
  return marks;
}
