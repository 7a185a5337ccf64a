/**
 * What the kernel tells of a mapping: what it is (/proc/self/maps), and how it is to be treated (/proc/self/smaps,
 * proc(5), "VmFlags"), which has to be put back after it was changed for a while. Reading smaps costs a walk over the
 * whole process, ten milliseconds and more in which the guest may stand still: only for memory that others have mapped.
 */
import { readFileSync } from 'node:fs';
import type { MemoryKind, RAMBlockDescriptor } from './ram-block.js';

export interface MappingFlags {
  /** MADV_HUGEPAGE (hg), MADV_NOHUGEPAGE (nh), or neither. */
  readonly hugepages: 'wanted' | 'unwanted' | 'unsaid';
  /** mlock (lo). */
  readonly isLocked: boolean;
  /** MADV_DONTFORK (dc): a child does not get it. */
  readonly isKeptFromChildren: boolean;
}

/**
 * The VmFlags of the mappings that hold these addresses in the text of a smaps file; none where there is no such. In
 * one pass, as the text is long and the guest may stand still meanwhile. Pure.
 */
export function vmFlagsAt(smaps: string, addresses: readonly number[]): readonly (readonly string[])[] {
  const flags: (readonly string[])[] = addresses.map(() => []);
  for (const [, from, to, words] of smaps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) [\s\S]*?^VmFlags:(.*)$/gm)) {
    const start = Number.parseInt(from, 16);
    const end = Number.parseInt(to, 16);
    for (const [index, address] of addresses.entries()) {
      if (address >= start && address < end) flags[index] = words.trim().split(/\s+/);
    }
  }
  return flags;
}

/**
 * Of each block. Of those that {@link RAMBlock.create} has mapped what was said of them then, without a look at them.
 * But a lock may be on all that a process maps (mlockall), so where there is any in it, they are all looked at.
 */
export function mappingFlagsOf(blocks: readonly RAMBlockDescriptor[]): readonly MappingFlags[] {
  const known = blocks.flatMap(({ hugepages }) => (hugepages === undefined ? [] : [asMapped(hugepages)]));
  const areKnown = known.length === blocks.length && !hasLocksIn(readFileSync('/proc/self/status', 'latin1'));
  return areKnown ? known : readMappingFlags(blocks);
}

const asMapped = (hugepages: 'wanted' | 'unsaid'): MappingFlags => ({
  hugepages,
  isLocked: false,
  isKeptFromChildren: false,
});

/** Whether the process has any memory locked, in the text of a status file; also where that does not say. Pure. */
export function hasLocksIn(status: string): boolean {
  return /^VmLck:\s*0 kB$/m.exec(status) === null;
}

/** Of each block; what is said of its first page, where it is not the same for all of it. */
export function readMappingFlags(blocks: readonly RAMBlockDescriptor[]): MappingFlags[] {
  const smaps = readFileSync('/proc/self/smaps', 'latin1');
  const addresses = blocks.map(({ address }) => address);
  return vmFlagsAt(smaps, addresses).map((flags) => ({
    hugepages: flags.includes('hg') ? 'wanted' : flags.includes('nh') ? 'unwanted' : 'unsaid',
    isLocked: flags.includes('lo'),
    isKeptFromChildren: flags.includes('dc'),
  }));
}

/** Whether all of a range is mapped anonymously, privately, to read and write, in the text of a maps file. Pure. */
export function isPlainIn(maps: string, address: number, length: number): boolean {
  let end = address;
  for (const line of maps.split('\n')) {
    const mapping = /^([0-9a-f]+)-([0-9a-f]+) rw-p 0+ 00:00 0/.exec(line);
    // Mappings come in the order of their addresses.
    if (mapping !== null && Number.parseInt(mapping[1], 16) <= end) {
      end = Math.max(end, Number.parseInt(mapping[2], 16));
    }
  }
  return end >= address + length;
}

/** The same of this process. */
export function isPlainMemory(address: number, length: number): boolean {
  return isPlainIn(readFileSync('/proc/self/maps', 'utf8'), address, length);
}

/** Whether the kernel uses huge pages for memory of that kind of which nothing is said. */
export function usesHugepagesUnsaid(kind: MemoryKind): boolean {
  const knob = kind === 'memfd' ? 'shmem_enabled' : 'enabled';
  try {
    return readFileSync(`/sys/kernel/mm/transparent_hugepage/${knob}`, 'utf8').includes('[always]');
  } catch {
    return false; // a kernel without them
  }
}
