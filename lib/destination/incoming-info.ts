/**
 * How an incoming migration stands, from what its threads count. Pure. `queryIncoming` (query-migrate.ts) turns
 * it into the answer to QMP's query-migrate.
 */
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import type { DestinationCounter } from './destination-counters.js';
import type { LatencyStage, LatencySummary } from './fault-latency.js';
import type { IncomingStatus } from './incoming-state.js';

/** Times in µs; 0 where there was no fault. The stages of a fault add up to the whole of its latency. */
export interface FaultInfo extends LatencySummary {
  /** Page faults read from the kernel. */
  readonly count: number;
  readonly stages: {
    /** From the fault's reading to the request's sending. */
    readonly requestSent: LatencySummary;
    /** To the page's being decoded. */
    readonly pageArrived: LatencySummary;
    /** To its being placed. */
    readonly pagePlaced: LatencySummary;
  };
}

/** RAM as it came in, under the names of QMP's MigrationStats. */
export interface IncomingRamInfo {
  readonly transferred: number;
  readonly duplicate: number;
  readonly normal: number;
  readonly precopyBytes: number;
  readonly postcopyBytes: number;
  readonly postcopyRequests: number;
  /** Of those, how many pages are there; in the end maybe one more, which came before it was asked for. */
  readonly postcopyRequestsServed: number;
  /** Target pages that were asked for ahead of a fault; 0 with the prefetch policy `none`. */
  readonly prefetched: number;
  readonly pageSize: number;
}

/** A guest that was handed over to here and can't run on: not here, and never again at the source. */
export interface GuestLoss {
  /** Target pages that did not come. While there are any, whoever touches one waits (see `abandon`). */
  readonly missingPages: number;
  /** Whoever touches one gets SIGBUS instead (`giveUp`). */
  readonly isPoisoned: boolean;
  /** Whether it ran here already. */
  readonly hasRun: boolean;
  /** The message of the error that ended the migration. */
  readonly reason: string;
}

export interface IncomingInfo {
  readonly status: IncomingStatus;
  /** Whether the guest was handed over before all of its pages were there. */
  readonly postcopy: boolean;
  readonly ram: IncomingRamInfo;
  readonly faults: FaultInfo;
  /** Milliseconds in which all vCPUs waited for pages at once; with the capability `postcopyBlocktime`. */
  readonly postcopyBlocktime: number | undefined;
  /** Milliseconds for which each vCPU waited for pages, in the guest's order; likewise. */
  readonly postcopyVcpuBlocktime: readonly number[] | undefined;
  /** What the guest said when it died here, after its start. Its pages come all the same. */
  readonly guestDied: string | undefined;
  /** After a failure that the guest did not survive. */
  readonly lost: GuestLoss | undefined;
}

export interface IncomingParts extends Pick<IncomingInfo, 'status' | 'postcopy' | 'guestDied' | 'lost'> {
  readonly counters: Readonly<Record<DestinationCounter, number>>;
  readonly latency: (stage: LatencyStage) => LatencySummary;
  /** With the capability. */
  readonly blocktime: { readonly overallUs: number; readonly vcpuUs: readonly number[] } | undefined;
}

export function incomingInfo({ counters: c, latency, blocktime, ...own }: IncomingParts): IncomingInfo {
  return {
    ...own,
    ram: {
      transferred: c.transferred,
      duplicate: c.duplicate,
      normal: c.normal,
      precopyBytes: c.precopyBytes,
      postcopyBytes: c.postcopyBytes,
      postcopyRequests: c.postcopyRequests,
      postcopyRequestsServed: c.requestsServed,
      prefetched: c.prefetched,
      pageSize: TARGET_PAGE_SIZE,
    },
    faults: {
      count: c.faults,
      ...latency('total'),
      stages: {
        requestSent: latency('requestSent'),
        pageArrived: latency('pageArrived'),
        pagePlaced: latency('pagePlaced'),
      },
    },
    postcopyBlocktime: blocktime === undefined ? undefined : blocktime.overallUs / 1000,
    postcopyVcpuBlocktime: blocktime?.vcpuUs.map((us) => us / 1000),
  };
}
