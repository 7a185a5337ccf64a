/** What the source counts, all by the migration thread but for the requests, which the return path thread counts. */
import { Counters } from '../threads/counters.js';

export const sourceCounterNames = [
  /** Bytes put on the stream, of every kind. */
  'transferred',
  /** RAM's share of them, before and after the switch. */
  'precopyBytes',
  'postcopyBytes',
  /** Page records with content, and those that say only "zero". */
  'normal',
  'duplicate',
  /** Dirty bitmap synchronisations. */
  'dirtySyncCount',
  /** Target pages still to be sent, at the last look. */
  'remainingPages',
  /** Page requests that came over the return path. */
  'postcopyRequests',
  /** Bytes a second, at the last measurement. */
  'bandwidth',
] as const;

export type SourceCounters = Counters<(typeof sourceCounterNames)[number]>;

export function createSourceCounters(buffer?: SharedArrayBuffer): SourceCounters {
  return new Counters(sourceCounterNames, buffer);
}
