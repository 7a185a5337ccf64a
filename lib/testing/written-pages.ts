/** Which pages of a guest are written while something happens: by the dirty log of a precopy, so by anybody. */
import { PageBitmap } from '../memory/bitmap.js';
import { DirtyLog } from '../memory/dirty-log.js';
import type { Guest } from '../memory/guest.js';
import { pageCount, TARGET_PAGE_SIZE } from '../memory/page.js';

/** Of each block, the pages that were written. Throws PRECOPY_UNAVAILABLE where this host can't tell. */
export async function writtenWhile(guest: Guest, happens: () => Promise<void>): Promise<readonly PageBitmap[]> {
  const bitmaps = () => guest.ramBlocks.map(({ size }) => new PageBitmap(pageCount(size)));
  mapAllPages(guest);
  const log = DirtyLog.start(guest.ramBlocks.map(({ descriptor }) => descriptor));
  try {
    log.sync(bitmaps()); // what was written until now
    await happens();
    const written = bitmaps();
    log.sync(written);
    return written;
  } finally {
    log.stop();
  }
}

/** Of shared memory, what is not mapped would be taken for written. */
function mapAllPages({ ramBlocks }: Guest): void {
  for (const block of ramBlocks) {
    const bytes = block.bytes();
    for (let offset = 0; offset < bytes.length; offset += TARGET_PAGE_SIZE) Atomics.load(bytes, offset);
  }
}

export function countPages(written: readonly PageBitmap[]): number {
  return written.reduce((sum, pages) => sum + pages.count(), 0);
}
