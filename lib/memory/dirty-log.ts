/**
 * Dirty tracking without a hypervisor: asynchronous write protection. The kernel lifts it from a
 * page at the first write, without a fault reaching anyone, and PAGEMAP_SCAN reads which pages have
 * lost it and puts it back, in one step: no write is missed between the two.
 *
 * A discard is a write of zeroes. Anonymous memory shows it as one. Shared memory and hugepages keep the
 * protection of a page that is discarded, so there every page that is not mapped is taken for written.
 * What has been read since to be sent is mapped, so this finds nothing twice; only memory that the kernel
 * has swapped out is sent once more.
 *
 * Used by the migration thread alone. Costs about 3 ms a GiB and scan.
 */
import { MigrationError } from '../errors.js';
import { native } from '../native.js';
import type { PageBitmap } from './bitmap.js';
import { TARGET_PAGE_SIZE } from './page.js';
import type { RAMBlockDescriptor } from './ram-block.js';
import { type OpenedUserfaultfd, openUserfaultfd } from './userfaultfd.js';

/** Features asked for: protection of pages that are not there yet is what makes the log exact. */
function dirtyLogFeatures(blocks: readonly RAMBlockDescriptor[]): bigint {
  const { constants: c } = native();
  const shared = blocks.some((block) => block.kind !== 'anonymous') ? c.UFFD_FEATURE_WP_HUGETLBFS_SHMEM : 0n;
  return c.UFFD_FEATURE_PAGEFAULT_FLAG_WP | c.UFFD_FEATURE_WP_ASYNC | c.UFFD_FEATURE_WP_UNPOPULATED | shared;
}

export class DirtyLog {
  readonly #uffd: OpenedUserfaultfd;
  readonly #blocks: readonly RAMBlockDescriptor[];

  private constructor(uffd: OpenedUserfaultfd, blocks: readonly RAMBlockDescriptor[]) {
    this.#uffd = uffd;
    this.#blocks = blocks;
  }

  /**
   * Begins to log writes to all blocks. Throws PRECOPY_UNAVAILABLE where the kernel can't, and the
   * errors of {@link openUserfaultfd}.
   */
  static start(blocks: readonly RAMBlockDescriptor[]): DirtyLog {
    const n = native();
    if (!n.hasPagemapScan()) {
      throw new MigrationError('PRECOPY_UNAVAILABLE', 'this kernel has no PAGEMAP_SCAN (it came with Linux 6.7)');
    }
    const uffd = openUserfaultfd(dirtyLogFeatures(blocks));
    const log = new DirtyLog(uffd, blocks);
    try {
      for (const { handle, size } of blocks) {
        n.userfaultfdRegister(uffd.handle, handle, 0, size, n.constants.UFFDIO_REGISTER_MODE_WP);
        n.userfaultfdWriteProtect(uffd.handle, handle, 0, size, n.constants.UFFDIO_WRITEPROTECT_MODE_WP);
      }
    } catch (error) {
      log.stop();
      throw error;
    }
    return log;
  }

  /**
   * Adds to `dirty[i]` the pages of block i written since the last sync and, where a discard is no write, those
   * that are not mapped. Returns how many were found.
   */
  sync(dirty: readonly PageBitmap[]): number {
    const { harvestDirtyPages, findAbsentPages } = native();
    let found = 0;
    for (const [index, { handle, size, kind }] of this.#blocks.entries()) {
      const { words } = dirty[index];
      found += harvestDirtyPages(handle, 0, size, TARGET_PAGE_SIZE, words);
      if (kind !== 'anonymous') found += findAbsentPages(handle, 0, size, TARGET_PAGE_SIZE, words);
    }
    return found;
  }

  /** Ends the log; the blocks are plain memory again. */
  stop(): void {
    native().userfaultfdClose(this.#uffd.handle);
  }
}
