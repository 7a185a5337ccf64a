/** The rule that a migration ends well only when every page has come: what never came would read as zeroes. */
import { MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';

/** Ranges of missing pages that an error names. */
const RANGES_MAX = 8;

/** `received`: of each block. Throws PAGES_MISSING, which names block and pages. */
export function requireAllPages(
  blocks: readonly Pick<RAMBlockDescriptor, 'idstr'>[],
  received: readonly PageBitmap[],
): void {
  const missing = received.flatMap((pages, index) => {
    const count = pages.pageCount - pages.count();
    return count === 0 ? [] : [`${count} of RAM block ${blocks[index].idstr}: ${describeClear(pages)}`];
  });
  if (missing.length === 0) return;
  throw new MigrationError('PAGES_MISSING', `the stream ended, and pages are missing, ${missing.join('; ')}`);
}

/** The clear bits as text, as {@link PageBitmap.describeRanges} has the set ones. */
function describeClear(pages: PageBitmap): string {
  const clear = new PageBitmap(pages.pageCount);
  clear.setAll();
  for (const [index, word] of pages.words.entries()) clear.words[index] &= ~word;
  return clear.describeRanges(RANGES_MAX);
}
