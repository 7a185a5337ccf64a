/** RAM for a machine that is none of ours, made to fit its block list. */
import { totalmem } from 'node:os';
import { MigrationError } from '../errors.js';
import { type MemoryKind, RAMBlock } from '../memory/ram-block.js';
import { type NativeError, native } from '../native.js';
import type { RamBlockEntry } from '../wire/messages.js';

type Entry = Pick<RamBlockEntry, 'idstr' | 'usedLength' | 'pageSize'>;

/** Bytes of memory that there are for this process, swap aside: the host's, or its control group's if that is less. */
function hostMemory(): number {
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(totalmem(), limit) : totalmem();
}

/** Nothing has been mapped; a list from a peer or a file may say anything. */
function checkTotal(entries: readonly Entry[]): void {
  const total = entries.reduce((sum, { usedLength }) => sum + usedLength, 0);
  const there = hostMemory();
  if (total <= there) return;
  throw new MigrationError(
    'GUEST_UNAVAILABLE',
    `the machine has ${total} bytes of RAM, and this host ${there} for it`,
    { hint: 'use a host with more memory' },
  );
}

function createBlock({ idstr, usedLength: size, pageSize }: Entry, kind: MemoryKind): RAMBlock {
  const { HOST_PAGE_SIZE } = native().constants;
  if (pageSize === undefined || pageSize === HOST_PAGE_SIZE) return RAMBlock.create({ idstr, size, kind });
  try {
    return RAMBlock.create({ idstr, size, kind: 'hugetlb', pageSize });
  } catch (cause) {
    if ((cause as NativeError).code !== 'ENOMEM') throw cause;
    const pages = Math.ceil(size / pageSize);
    const knob = `/sys/kernel/mm/hugepages/hugepages-${pageSize / 1024}kB/nr_hugepages`;
    throw new MigrationError(
      'GUEST_UNAVAILABLE',
      `RAM block ${idstr} takes ${pages} hugepages of ${pageSize} bytes, and fewer are free`,
      { cause, hint: `as root, reserve ${pages} more of them in ${knob}` },
    );
  }
}

/**
 * Maps a block for each entry, of hugepages where it says so and of `kind` elsewhere; all or none. Throws
 * GUEST_UNAVAILABLE where the host does not have as much.
 */
export function createMachineBlocks(entries: readonly Entry[], kind: MemoryKind = 'anonymous'): RAMBlock[] {
  checkTotal(entries);
  const created: RAMBlock[] = [];
  try {
    for (const entry of entries) created.push(createBlock(entry, kind));
    return created;
  } catch (error) {
    for (const block of created) block.close();
    throw error;
  }
}
