/**
 * What the guest's memory has to be like while it is received for postcopy, and how it becomes again what it
 * was (D4, D10). In between:
 *
 *  - no huge pages: one would bring in target pages that have not arrived
 *  - not locked: locked memory can't be discarded, and locking populates it
 *  - not in child processes: there, what is missing would read as zeroes
 *  - nothing in it: what is there already never faults
 *  - from LISTEN on no discards by others, such as a balloon (RAMBlock.discard)
 */
import { type MappingFlags, usesHugepagesUnsaid } from '../memory/mapping-flags.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { type NativeError, native, type RamBlockHandle } from '../native.js';
import type { Trace } from '../trace/trace.js';
import { type DestinationSignals, Memory } from './destination-signals.js';

/** What each block was like before, as mappingFlagsOf tells. */
export type MemoryBefore = readonly MappingFlags[];

/** madvise of a whole block; done as far as the block is mapped and the kernel knows the advice. */
function advise(handle: RamBlockHandle, size: number, advice: number): void {
  try {
    native().ramBlockAdvise(handle, advice, 0, size);
  } catch (error) {
    const { code } = error as NativeError;
    // EINVAL: a kernel without huge pages. ENOMEM: the guest has unmapped a part of it.
    if (code !== 'EINVAL' && code !== 'ENOMEM') throw error;
  }
}

/** Main thread, at ADVISE. */
export function prepareMemory(
  signals: DestinationSignals,
  blocks: readonly RAMBlockDescriptor[],
  before: MemoryBefore,
  trace: Trace,
): void {
  const { constants: c, ramBlockDiscard, ramBlockUnlock } = native();
  signals.set('MEMORY', Memory.PREPARED);
  for (const [index, { handle, size, kind }] of blocks.entries()) {
    trace.at('postcopy_init_range', index);
    if (before[index].isLocked) ramBlockUnlock(handle);
    // Before the discard: no huge page may come between the two.
    if (kind !== 'hugetlb') advise(handle, size, c.MADV_NOHUGEPAGE);
    advise(handle, size, c.MADV_DONTFORK);
    ramBlockDiscard(handle, Float64Array.of(0, size), 1);
  }
}

/** Main thread, at LISTEN. */
export function inhibitDiscards(signals: DestinationSignals, blocks: readonly RAMBlockDescriptor[]): void {
  for (const { handle } of blocks) native().ramBlockInhibitDiscard(handle, 1);
  signals.set('MEMORY', Memory.INHIBITED);
}

/** Whoever lets go of the memory, once; when nothing is missing any more, or nobody will come to it. */
export function restoreMemory(
  signals: DestinationSignals,
  blocks: readonly RAMBlockDescriptor[],
  before: MemoryBefore,
): void {
  const was = signals.get('MEMORY');
  if (was === Memory.PLAIN || !signals.exchange('MEMORY', was, Memory.PLAIN)) return;
  for (const [index, block] of blocks.entries()) {
    try {
      if (was === Memory.INHIBITED) native().ramBlockInhibitDiscard(block.handle, 0);
      restoreBlock(block, before[index]);
    } catch (error) {
      if ((error as NativeError).code !== 'EBADF') throw error; // the guest has closed it
    }
  }
}

function restoreBlock({ idstr, handle, size, kind }: RAMBlockDescriptor, before: MappingFlags): void {
  const { constants: c, ramBlockLock } = native();
  if (!before.isKeptFromChildren) advise(handle, size, c.MADV_DOFORK);
  // "Neither" can't be said again. What would mean huge pages is said; else it stays without.
  const wantsHuge = before.hugepages === 'wanted' || (before.hugepages === 'unsaid' && usesHugepagesUnsaid(kind));
  if (kind !== 'hugetlb' && wantsHuge) advise(handle, size, c.MADV_HUGEPAGE);
  if (!before.isLocked) return;
  try {
    ramBlockLock(handle);
  } catch (error) {
    // The guest is whole; this must not cost it its life.
    process.emitWarning(`RAM block ${idstr} was locked in memory before, and can't be again: ${String(error)}`);
  }
}
