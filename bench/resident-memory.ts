/** How much memory this process has besides what its guest's blocks hold. */
import { readFileSync } from 'node:fs';
import type { RAMBlockDescriptor } from '#lib/memory/ram-block.js';

export interface ResidentMemory {
  /** Bytes now, and at most so far. */
  readonly nowBytes: number;
  readonly peakBytes: number;
}

const KIB = 1024;
const mappingLine = /^([0-9a-f]+)-[0-9a-f]+ /;

/** Bytes of each mapping by where it begins, from the text of /proc/PID/smaps. */
export function residentMappings(smaps: string): { readonly start: number; readonly bytes: number }[] {
  const found: { start: number; bytes: number }[] = [];
  let start = 0;
  for (const line of smaps.split('\n')) {
    const mapping = mappingLine.exec(line);
    if (mapping !== null) start = Number.parseInt(mapping[1], 16);
    else if (line.startsWith('Rss:')) found.push({ start, bytes: Number.parseInt(line.slice(4), 10) * KIB });
  }
  return found;
}

const statusField = (status: string, name: string): number =>
  Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1]) * KIB;

/** The blocks are taken to have held no more than they do now. */
export function residentMemory(blocks: readonly RAMBlockDescriptor[]): ResidentMemory {
  const isGuests = (start: number): boolean =>
    blocks.some(({ address, size }) => start >= address && start < address + size);
  const mappings = residentMappings(readFileSync('/proc/self/smaps', 'utf8'));
  const guestBytes = mappings.reduce((sum, { start, bytes }) => sum + (isGuests(start) ? bytes : 0), 0);
  const status = readFileSync('/proc/self/status', 'utf8');
  return {
    nowBytes: statusField(status, 'VmRSS') - guestBytes,
    peakBytes: statusField(status, 'VmHWM') - guestBytes,
  };
}
