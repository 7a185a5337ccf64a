/** What the destination counts: by whichever thread reads the stream, but for the faults. */
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
  /** Fault thread: pages asked for. */
  'postcopyRequests',
  /** Listen thread: of the pages asked for, those that are there. */
  'requestsServed',
  /** Listen thread: fault latency in µs, so far. */
  'faultP50Us',
  'faultP99Us',
  'faultMaxUs',
] as const;

export type DestinationCounters = Counters<(typeof destinationCounterNames)[number]>;

export function createDestinationCounters(buffer?: SharedArrayBuffer): DestinationCounters {
  return new Counters(destinationCounterNames, buffer);
}
