/**
 * How an outgoing migration stands, under the names of QMP's query-migrate, from what its threads count.
 * Pure. `queryMigrate` (query-migrate.ts) turns it into the answer to that command.
 */
import { pageOffset, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { MigrationStatus } from './migration-state.js';
import type { DirtyTracking } from './source-context.js';
import type { SourceCounter } from './source-counters.js';

/** RAM statistics under the names of QMP's MigrationStats; bytes, or pages of `pageSize`. */
export interface RamInfo {
  /** Bytes on the stream, of every kind. */
  readonly transferred: number;
  /** Bytes of RAM still to be sent, at the last look. */
  readonly remaining: number;
  readonly total: number;
  /** Pages sent as "all zero", and with content. */
  readonly duplicate: number;
  readonly normal: number;
  readonly normalBytes: number;
  /** Always 0, as in QEMU since 1.5. */
  readonly skipped: number;
  /** Pages that the guest dirtied a second, when last measured. */
  readonly dirtyPagesRate: number;
  readonly dirtySyncCount: number;
  readonly postcopyRequests: number;
  readonly pageSize: number;
  /** Bytes of RAM while the guest ran here, while it stood still at the end of a precopy, after the switch. */
  readonly precopyBytes: number;
  readonly downtimeBytes: number;
  readonly postcopyBytes: number;
  /** Throughput in Mbit/s: of the last 100 ms, or of the whole migration once it has ended. */
  readonly mbps: number;
  /** Pages sent a second, in the last 100 ms. */
  readonly pagesPerSecond: number;
  /** There are no multifd channels and no zero-copy sends: 0. */
  readonly multifdBytes: number;
  readonly dirtySyncMissedZeroCopy: number;
}

/** The fields of query-migrate; times in milliseconds. `queryMigrate` gives them as QMP does. */
export interface OutgoingInfo {
  readonly status: MigrationStatus;
  readonly totalTime: number;
  readonly setupTime: number;
  /** From the guest's stop to when the last byte it needs to start was sent; 0 until then. */
  readonly downtime: number;
  /** What the downtime of a precopy would be now; the limit until there is a figure. */
  readonly expectedDowntime: number;
  /** While auto-converge holds the guest back. */
  readonly cpuThrottlePercentage: number | undefined;
  /** Why it failed. */
  readonly errorDesc: string | undefined;
  /** How what the guest writes is found; `none` also until that is known. */
  readonly dirtyTracking: DirtyTracking;
  readonly ram: RamInfo;
}

export interface InfoParts extends Omit<OutgoingInfo, 'setupTime' | 'downtime' | 'expectedDowntime' | 'ram'> {
  readonly counters: Readonly<Record<SourceCounter, number>>;
  readonly hasEnded: boolean;
  readonly totalBytes: number;
  /** The parameter, in milliseconds. */
  readonly downtimeLimit: number;
}

export function outgoingInfo({ counters: c, hasEnded, totalBytes, downtimeLimit, ...own }: InfoParts): OutgoingInfo {
  const transferred = c.transferred + c.urgentBytes;
  const normal = c.normal + c.urgentNormal;
  const bytesPerMs = hasEnded ? transferred / own.totalTime : c.bandwidth / 1000;
  return {
    ...own,
    setupTime: c.setupTime,
    downtime: c.downtime,
    expectedDowntime: c.expectedDowntime || downtimeLimit,
    ram: {
      transferred,
      remaining: pageOffset(c.remainingPages),
      total: totalBytes,
      duplicate: c.duplicate + c.urgentDuplicate,
      normal,
      normalBytes: pageOffset(normal),
      skipped: 0,
      dirtyPagesRate: c.dirtyPagesRate,
      dirtySyncCount: c.dirtySyncCount,
      postcopyRequests: c.postcopyRequests,
      pageSize: TARGET_PAGE_SIZE,
      precopyBytes: c.precopyBytes,
      downtimeBytes: c.downtimeBytes,
      postcopyBytes: c.postcopyBytes + c.urgentBytes,
      mbps: (bytesPerMs * 8) / 1000,
      pagesPerSecond: c.pagesPerSecond,
      multifdBytes: 0,
      dirtySyncMissedZeroCopy: 0,
    },
  };
}
