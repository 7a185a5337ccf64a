/** The guest's memory as the demo is asked for it: whether this host has it to give. Pure. */
import { MigrationError } from '../errors.js';
import type { HostProbe } from '../host/probe.js';
import { HUGE_PAGE_SIZE } from '../memory/page.js';
import { formatBytes } from './size.js';

/**
 * Hugepages for both sides, each of which has the guest's whole memory. Each block is rounded up to whole
 * hugepages, so there may be as many more as there are blocks.
 */
function neededHugepages(memory: number, blocks: number): number {
  return 2 * (Math.ceil(memory / HUGE_PAGE_SIZE) + blocks - 1);
}

/** Throws GUEST_UNAVAILABLE, with the command that helps, where too few hugepages are free. */
export function checkHugepages(memory: number, blocks: number, hugepages: HostProbe['hugepages']): void {
  const { total, free } = hugepages.find(({ size }) => size === HUGE_PAGE_SIZE) ?? { total: 0, free: 0 };
  const needed = neededHugepages(memory, blocks);
  if (free >= needed) return;
  throw new MigrationError(
    'GUEST_UNAVAILABLE',
    `the two guests of ${formatBytes(memory)} take ${needed} hugepages of ${formatBytes(HUGE_PAGE_SIZE)}, ` +
      `and ${free} are free`,
    {
      hint:
        'as root, reserve them with "echo ' +
        `${total + needed - free} > /sys/kernel/mm/hugepages/hugepages-${HUGE_PAGE_SIZE / 1024}kB/nr_hugepages", ` +
        'or use another --memory-kind',
    },
  );
}
