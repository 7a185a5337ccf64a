/**
 * What the kernel tells of a mapping: what it is (/proc/self/maps), and how it is to be treated (/proc/self/smaps,
 * proc(5), "VmFlags"), which has to be put back after it was changed for a while. Reading smaps costs a walk over the
 * whole process: once a migration.
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

/** The VmFlags of the mapping that holds `address` in the text of a smaps file; none where there is no such. Pure. */
export function vmFlagsAt(smaps: string, address: number): readonly string[] {
  let isIt = false;
  for (const line of smaps.split('\n')) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line);
    if (range !== null) {
      isIt = address >= Number.parseInt(range[1], 16) && address < Number.parseInt(range[2], 16);
    } else if (isIt && line.startsWith('VmFlags:')) {
      return line.slice('VmFlags:'.length).trim().split(/\s+/);
    }
  }
  return [];
}

/** Of each block; what is said of its first page, where it is not the same for all of it. */
export function readMappingFlags(blocks: readonly RAMBlockDescriptor[]): MappingFlags[] {
  const smaps = readFileSync('/proc/self/smaps', 'utf8');
  return blocks.map(({ address }) => {
    const flags = vmFlagsAt(smaps, address);
    return {
      hugepages: flags.includes('hg') ? 'wanted' : flags.includes('nh') ? 'unwanted' : 'unsaid',
      isLocked: flags.includes('lo'),
      isKeptFromChildren: flags.includes('dc'),
    };
  });
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
