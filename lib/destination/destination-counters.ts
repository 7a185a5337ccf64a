/** What the destination counts: by whichever thread reads the stream, but for the faults. */
import { Counters } from '../threads/counters.js';
import { type LatencyStage, type LatencySummary, latencyStages } from './fault-latency.js';

/** Listen thread: fault latency so far, by stage. */
const latencyCounterNames = latencyStages.flatMap(
  (stage) => [`${stage}.p50Us`, `${stage}.p99Us`, `${stage}.maxUs`] as const,
);

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
  ...latencyCounterNames,
] as const;

export type DestinationCounter = (typeof destinationCounterNames)[number];

export type DestinationCounters = Counters<DestinationCounter>;

export function createDestinationCounters(buffer?: SharedArrayBuffer): DestinationCounters {
  return new Counters(destinationCounterNames, buffer);
}

/** Listen thread: a stage's latency so far. */
export function countLatency(counters: DestinationCounters, stage: LatencyStage, summary: LatencySummary): void {
  counters.set(`${stage}.p50Us`, summary.p50Us);
  counters.set(`${stage}.p99Us`, summary.p99Us);
  counters.set(`${stage}.maxUs`, summary.maxUs);
}
