/** What the destination counts: by whichever thread reads the stream, but for the faults. Of each channel by itself. */
import { Counters } from '../threads/counters.js';

export const destinationCounterNames = [
  /** Bytes of the stream decoded. */
  'transferred',
  /** RAM's share of them, before and after the switch. */
  'precopyBytes',
  'postcopyBytes',
  /** Page records with content, and those that say only "zero". */
  'normal',
  'duplicate',
  /** Fault thread: page faults read from the kernel. */
  'faults',
  /** Fault thread: pages asked for, as somebody waits for them. */
  'postcopyRequests',
  /** Fault thread: target pages asked for besides, ahead of a fault. */
  'prefetched',
  /** Of the pages asked for, those that are there. */
  'requestsServed',
] as const;

export type DestinationCounter = (typeof destinationCounterNames)[number];

export type DestinationCounters = Counters<DestinationCounter>;

export function createDestinationCounters(buffer?: SharedArrayBuffer): DestinationCounters {
  return new Counters(destinationCounterNames, buffer);
}

/** What has come over all channels together. */
export function sumOfCounters(each: readonly DestinationCounters[]): Record<DestinationCounter, number> {
  const sumOf = (name: DestinationCounter): number => each.reduce((sum, counters) => sum + counters.get(name), 0);
  return Object.fromEntries(destinationCounterNames.map((name) => [name, sumOf(name)])) as Record<
    DestinationCounter,
    number
  >;
}
