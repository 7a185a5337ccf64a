/**
 * Poisons what never came of a guest that was given up: whoever reads such a page gets SIGBUS (from a system call
 * EFAULT), and never zeroes. The pages that came stay as they are. Owner, when all threads of the migration have ended.
 *
 * It is the mapping that is poisoned: another mapping of the same file, or a page that is let go of afterwards, reads
 * as zeroes.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PageBitmap } from '../memory/bitmap.js';
import { pageOffset } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { type EventfdHandle, type NativeError, native, type UserfaultfdHandle } from '../native.js';

/** Bytes of small pages that are poisoned before others get their turn: some milliseconds. */
const STEP_BYTES = 64 * 1024 * 1024;
const EVENTS_MAX = 64;

/** Throws the error of a system call where it can't be done; what was poisoned by then stays so. */
export async function poisonMissing(
  uffd: UserfaultfdHandle,
  blocks: readonly RAMBlockDescriptor[],
  received: readonly PageBitmap[],
): Promise<void> {
  const kick = native().eventfdCreate();
  try {
    for (const [index, block] of blocks.entries()) {
      const pages = received[index];
      for (let first = pages.findNextClear(0); first < pages.pageCount; ) {
        const end = pages.findNext(first);
        await poisonRange(uffd, kick, block, pageOffset(first), pageOffset(end));
        first = pages.findNextClear(end);
      }
    }
  } finally {
    native().eventfdClose(kick);
  }
}

/** What is there already stays, and what is not mapped any more is nobody's to read. */
async function poisonRange(
  uffd: UserfaultfdHandle,
  kick: EventfdHandle,
  { handle, pageSize }: RAMBlockDescriptor,
  start: number,
  end: number,
): Promise<void> {
  let most = Math.max(STEP_BYTES, pageSize);
  for (let at = start; at < end; ) {
    const length = Math.min(most, end - at);
    try {
      at += native().userfaultfdPoison(uffd, handle, at, length);
      most = Math.max(STEP_BYTES, pageSize);
    } catch (error) {
      const { code, arguments: told } = error as NativeError;
      at += Number(told.done);
      if (code === 'EAGAIN') drainEvents(uffd, kick);
      else if (code === 'EEXIST') at += pageSize;
      else if (code !== 'ENOENT') throw error;
      // Not all of it is in one mapping: in smaller pieces, down to the page that is in none.
      else if (length > pageSize) most = Math.max(Math.floor(length / 2 / pageSize), 1) * pageSize;
      else at += pageSize;
    }
    await nextTurn();
  }
}

/** Who changes the mapping waits until the event that tells so is read; nothing can be poisoned meanwhile. */
function drainEvents(uffd: UserfaultfdHandle, kick: EventfdHandle): void {
  const { constants, readEvents } = native();
  readEvents(uffd, kick, new Float64Array(EVENTS_MAX * constants.EVENT_WORDS), 0);
}
