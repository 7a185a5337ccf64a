/**
 * A huge page beside the guest's memory, into which the source's bytes are received, and which then becomes the
 * guest's: UFFDIO_MOVE takes its page from here and puts it there by changing two entries of page tables. Nothing is
 * copied, and the guest has a huge page where UFFDIO_COPY would have made 512 small ones. The place here is empty after
 * that, and gets another page from the kernel when it is written next.
 *
 * Only whole ones: a smaller piece is copied, which is cheaper than what the kernel does to split a huge page.
 */
import { HUGE_PAGE_PAGES, HUGE_PAGE_SIZE } from '../memory/page.js';
import { RAMBlock, type RAMBlockDescriptor } from '../memory/ram-block.js';
import { type NativeError, native, type UserfaultfdHandle } from '../native.js';
import type { PageRunRecord } from '../wire/messages.js';

/** What a kernel says that has no UFFDIO_MOVE, or not for such memory. */
const neverCodes: ReadonlySet<string> = new Set(['EINVAL', 'ENOTTY', 'EPERM']);

export class HugePage {
  /** The addon maps blocks of this size and larger where a huge page can begin. */
  readonly #block = RAMBlock.create({ idstr: 'huge page to move', size: HUGE_PAGE_SIZE });
  /** Blocks of which the kernel has said that nothing can be moved there. */
  readonly #refused = new Set<RAMBlockDescriptor>();
  /** Its content. */
  readonly bytes = this.#block.bytes();

  /** Whether a run is just what a huge page of the block is. */
  canTake(block: RAMBlockDescriptor, { offset, pages }: PageRunRecord): boolean {
    const isAnonymous = block.kind === 'anonymous' && !this.#refused.has(block);
    return isAnonymous && pages === HUGE_PAGE_PAGES && (block.address + offset) % HUGE_PAGE_SIZE === 0;
  }

  /**
   * Moves the page to the block, and wakes who waits there. False where that can't be, mostly as something is there
   * already: what of the content has not gone is still here.
   */
  moveTo(uffd: UserfaultfdHandle, block: RAMBlockDescriptor, offset: number): boolean {
    try {
      native().userfaultfdMove(uffd, block.handle, offset, this.#block.handle, 0, HUGE_PAGE_SIZE);
      return true;
    } catch (error) {
      const { code } = error as NativeError;
      if (code === undefined) throw error;
      if (neverCodes.has(code)) this.#refused.add(block);
      return false;
    }
  }

  close(): void {
    this.#block.close();
  }
}
