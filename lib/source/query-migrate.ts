/**
 * The answer to QMP's query-migrate of a source, from its info: QEMU's names, whole milliseconds, and which
 * fields there are in which status. Pure.
 */
import type { MigrationStatus } from './migration-state.js';
import type { OutgoingInfo, RamInfo } from './outgoing-info.js';

/** Times in milliseconds, all else as QMP's MigrationInfo and MigrationStats have it. */
export type QueryMigrate = Readonly<Record<string, string | number | Readonly<Record<string, number>>>>;

/** What a status shows beside itself: nothing, the figures of one that is under way, or of one that has ended well. */
const shows: Readonly<Record<MigrationStatus, 'nothing' | 'progress' | 'result' | 'error'>> = {
  none: 'nothing',
  setup: 'nothing',
  active: 'progress',
  device: 'progress',
  'postcopy-device': 'progress',
  'postcopy-active': 'progress',
  'postcopy-paused': 'progress',
  'postcopy-recover-setup': 'progress',
  'postcopy-recover': 'progress',
  cancelling: 'progress',
  completed: 'result',
  cancelled: 'nothing',
  failed: 'error',
};

function ramFields(ram: RamInfo): Readonly<Record<string, number>> {
  return {
    transferred: ram.transferred,
    remaining: ram.remaining,
    total: ram.total,
    duplicate: ram.duplicate,
    skipped: ram.skipped,
    normal: ram.normal,
    'normal-bytes': ram.normalBytes,
    'dirty-pages-rate': Math.trunc(ram.dirtyPagesRate),
    mbps: ram.mbps,
    'dirty-sync-count': ram.dirtySyncCount,
    'postcopy-requests': ram.postcopyRequests,
    'page-size': ram.pageSize,
    'multifd-bytes': ram.multifdBytes,
    'pages-per-second': Math.trunc(ram.pagesPerSecond),
    'precopy-bytes': ram.precopyBytes,
    'downtime-bytes': ram.downtimeBytes,
    'postcopy-bytes': ram.postcopyBytes,
    'dirty-sync-missed-zero-copy': ram.dirtySyncMissedZeroCopy,
  };
}

export function queryMigrate(info: OutgoingInfo): QueryMigrate {
  const { status } = info;
  const common = {
    'setup-time': Math.trunc(info.setupTime),
    'total-time': Math.trunc(info.totalTime),
    ram: ramFields(info.ram),
    ...(info.cpuThrottlePercentage === undefined ? {} : { 'cpu-throttle-percentage': info.cpuThrottlePercentage }),
  };
  switch (shows[status]) {
    case 'nothing':
      return status === 'none' ? {} : { status };
    case 'error':
      return info.errorDesc === undefined ? { status } : { status, 'error-desc': info.errorDesc };
    case 'progress':
      return { status, ...common, 'expected-downtime': Math.trunc(info.expectedDowntime) };
    case 'result':
      return { status, ...common, downtime: Math.trunc(info.downtime) };
  }
}
