/** Snapshots of sides that there are not, for tests of what keeps and shows them. */

import type { BlockMap } from '#lib/dashboard/page-map.js';
import type { DestinationSnapshot, SideEvent, SourceSnapshot } from '#lib/dashboard/snapshot.js';
import { latencyBoundsUs } from '#lib/dashboard/snapshot.js';

interface Wish {
  readonly atMs?: number;
  readonly transferred?: number;
  readonly events?: readonly SideEvent[];
  readonly map?: readonly BlockMap[] | null;
}

const PAGE_SIZE = 4096;

export function sourceSnapshot({ atMs = 1, transferred = 0, events = [], map = null }: Wish): SourceSnapshot {
  const ram = {
    ...{ transferred, remaining: 0, total: 0, duplicate: 0, normal: 0, normalBytes: 0, skipped: 0 },
    ...{ dirtyPagesRate: 0, dirtySyncCount: 0, postcopyRequests: 0, pageSize: PAGE_SIZE, precopyBytes: 0 },
    ...{ downtimeBytes: 0, postcopyBytes: 0, mbps: 0, pagesPerSecond: 0, multifdBytes: 0, dirtySyncMissedZeroCopy: 0 },
  };
  const info = {
    ...{ status: 'active' as const, totalTime: 1, setupTime: 1, downtime: 0, expectedDowntime: 300 },
    ...{ cpuThrottlePercentage: undefined, errorDesc: undefined, dirtyTracking: 'none' as const, ram },
  };
  return { side: 'source', atMs, info, guest: { writesHere: 7 }, events, map };
}

/** `faults`: by the upper bound of their latency in µs, how many there were so far. */
export function destinationSnapshot(
  wish: Wish & { readonly faults?: Readonly<Record<number, number>> },
): DestinationSnapshot {
  const { atMs = 1, transferred = 0, events = [], map = null, faults = {} } = wish;
  const counts = [...latencyBoundsUs.map((bound) => faults[bound] ?? 0), 0];
  const none = { p50Us: 0, p99Us: 0, maxUs: 0 };
  const count = counts.reduce((sum, each) => sum + each, 0);
  const info = {
    ...{ status: 'postcopy-active' as const, postcopy: true, guestDied: undefined, lost: undefined },
    ram: {
      ...{ transferred, duplicate: 0, normal: 0, precopyBytes: 0, postcopyBytes: 0, prefetched: 0 },
      ...{ postcopyRequests: count, postcopyRequestsServed: count, pageSize: PAGE_SIZE },
    },
    faults: { count, ...none, stages: { requestSent: none, pageArrived: none, pagePlaced: none } },
    postcopyBlocktime: 1,
    postcopyVcpuBlocktime: [1, 2],
  };
  const latency = { total: counts, requestSent: counts, pageArrived: counts, pagePlaced: counts };
  return { side: 'destination', atMs, info, guest: null, events, map, latency };
}
