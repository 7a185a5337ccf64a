/** The guest's memory as the demo is asked for it: whether this host has it to give. Pure. */
import { MigrationError } from '../errors.js';
import type { HostProbe } from '../host/probe.js';
import { formatBytes } from './size.js';

const HUGEPAGE_SIZE = 2 * 1024 * 1024;

/**
 * Hugepages for both sides, each of which has the guest's whole memory. Each block is rounded up to whole
 * hugepages, so there may be as many more as there are blocks.
 */
function neededHugepages(memory: number, blocks: number): number {
  return 2 * (Math.ceil(memory / HUGEPAGE_SIZE) + blocks - 1);
}

/** Throws GUEST_UNAVAILABLE, with the command that helps, where too few hugepages are free. */
export function checkHugepages(memory: number, blocks: number, hugepages: HostProbe['hugepages']): void {
  const { total, free } = hugepages.find(({ size }) => size === HUGEPAGE_SIZE) ?? { total: 0, free: 0 };
  const needed = neededHugepages(memory, blocks);
  if (free >= needed) return;
  throw new MigrationError(
    'GUEST_UNAVAILABLE',
    `the two guests of ${formatBytes(memory)} take ${needed} hugepages of ${formatBytes(HUGEPAGE_SIZE)}, ` +
      `and ${free} are free`,
    {
      hint:
        'as root, reserve them with "echo ' +
        `${total + needed - free} > /sys/kernel/mm/hugepages/hugepages-${HUGEPAGE_SIZE / 1024}kB/nr_hugepages", ` +
        'or use another --memory-kind',
    },
  );
}
