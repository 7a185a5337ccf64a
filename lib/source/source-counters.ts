/**
 * What the source counts: the migration thread all but the requests, and what is sent to answer them by whoever hears
 * of them. That is the return path thread, and each lane thread, with counters of its own.
 */
import { Counters } from '../threads/counters.js';

export const sourceCounterNames = [
  /** Bytes put on the stream, of every kind. */
  'transferred',
  /** RAM's share: while the guest runs here, while it stands still at the end of a precopy, after the switch. */
  'precopyBytes',
  'downtimeBytes',
  'postcopyBytes',
  /** Page records with content, and those that say only "zero". */
  'normal',
  'duplicate',
  /** How often the dirty bitmap was brought up to date with the guest's writes. */
  'dirtySyncCount',
  /** Pages the guest dirtied a second, over the last period of a second or more that ended with a sync. */
  'dirtyPagesRate',
  /** Target pages still to be sent, at the last look. */
  'remainingPages',
  /** Page requests that came. */
  'postcopyRequests',
  /** Over the preempt channel, or a lane: pages taken, bytes, and pages with content and without. */
  'urgentPages',
  'urgentBytes',
  'urgentNormal',
  'urgentDuplicate',
  /** Bytes and pages a second, at the last measurement. */
  'bandwidth',
  'pagesPerSecond',
  /** Bytes a second, over about a second. */
  'steadyBandwidth',
  /** How the guest writes: the last window of either length, in milliseconds and pages (write-sampler.ts). */
  'shortWindowMs',
  'shortWindowPages',
  'longWindowMs',
  'longWindowPages',
  /** Milliseconds: of the set-up; from the guest's stop to when the last byte it needs to start was sent. */
  'setupTime',
  'downtime',
  /** Milliseconds that the rest would take with the guest stopped now; 0 until there is a figure. */
  'expectedDowntime',
] as const;

export type SourceCounter = (typeof sourceCounterNames)[number];

export type SourceCounters = Counters<SourceCounter>;

export function createSourceCounters(buffer?: SharedArrayBuffer): SourceCounters {
  return new Counters(sourceCounterNames, buffer);
}

const demandCounters = ['postcopyRequests', 'urgentPages', 'urgentBytes', 'urgentNormal', 'urgentDuplicate'] as const;

/** What all threads have counted that answer requests. */
export function demandTotal(name: (typeof demandCounters)[number], each: readonly SourceCounters[]): number {
  return each.reduce((sum, counters) => sum + counters.get(name), 0);
}

/** All counters, those of the lanes among them. */
export function sumOfCounters(own: SourceCounters, lanes: readonly SourceCounters[]): Record<SourceCounter, number> {
  const totals = demandCounters.map((name) => [name, demandTotal(name, [own, ...lanes])]);
  return { ...own.snapshot(), ...Object.fromEntries(totals) };
}
