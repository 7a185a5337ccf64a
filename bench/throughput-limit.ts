/** The most that a migration could move a second on this host, from what its parts can do. Pure. */
import { type Content, type Mode, zeroShares } from './benchmark.ts';
import type { Rate } from './limits-program.ts';

/** Bytes of one placement: the most that an engine could gather from the stream before a guest waits for it is last. */
export const PLACEMENT_CHUNKS = [4, 16, 64, 256].map((kib) => kib * 1024);

/** Bytes a second of the parts, each by itself. */
export type PartRates = Readonly<Record<Rate | 'socket', number>>;

/**
 * Bytes of RAM a second. The source's look at every page, the socket, and the destination's filling of memory go on at
 * once, so that the slowest of the three is the limit. A page of zeroes takes nothing of the socket; in precopy the
 * destination only looks whether the memory is zero already.
 */
export function throughputLimit(mode: Mode, content: Content, rates: PartRates): number {
  const zero = zeroShares[content];
  const [filling, clearing] = {
    precopy: [rates.memcpy, rates.read],
    postcopy: [rates.copy, rates.zeropage],
  }[mode];
  const secondsPerByte = [1 / rates.read, (1 - zero) / rates.socket, (1 - zero) / filling + zero / clearing];
  return 1 / Math.max(...secondsPerByte);
}
