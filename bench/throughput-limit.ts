/** The most that a migration could move a second on this host, from what its parts can do. Pure. */
import { type Content, type Mode, zeroShares } from './benchmark.ts';
import type { MemoryRates } from './limits-program.ts';

/** Bytes of one placement, at most: what an engine could gather from the stream before a guest waits for it. */
const LARGEST_PLACEMENT = 256 * 1024;

/** The best of those chunks. Bytes a second. */
export function placementRate(rates: Readonly<Record<string, number>>): number {
  return Math.max(
    ...Object.entries(rates).flatMap(([chunk, rate]) => (Number(chunk) <= LARGEST_PLACEMENT ? [rate] : [])),
  );
}

/**
 * Bytes of RAM a second. The source's look at every page, the socket, and the destination's filling of memory go on at
 * once, so that the slowest of the three is the limit. A page of zeroes takes nothing of the socket; in precopy the
 * destination only looks whether the memory is zero already.
 */
export function throughputLimit(mode: Mode, content: Content, memory: MemoryRates, socket: number): number {
  const zero = zeroShares[content];
  const filling = {
    precopy: { content: memory.memcpy, zeroes: memory.read },
    postcopy: { content: placementRate(memory.copy), zeroes: placementRate(memory.zeropage) },
  }[mode];
  const secondsPerByte = [1 / memory.read, (1 - zero) / socket, (1 - zero) / filling.content + zero / filling.zeroes];
  return 1 / Math.max(...secondsPerByte);
}
