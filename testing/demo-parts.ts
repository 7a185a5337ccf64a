/** What the two sides of a demo would say of a migration in which all went well; to be changed by tests. */
import type { DemoSettings } from '#lib/cli/demo-messages.js';
import type { DestinationDone, SourceDone } from '#lib/cli/demo-report.js';

export const demoSettings: DemoSettings = {
  memory: 64 * 4096,
  kind: 'anonymous',
  vcpus: 1,
  writesPerSecond: 1000,
  workingSetShare: 0.25,
  precopyPasses: 1,
  maxBandwidth: 0,
  maxPostcopyBandwidth: 0,
  transport: 'unix',
  uri: 'unix:/tmp/m.sock',
};

export const sourceDone: SourceDone = {
  side: 'source',
  info: {
    status: 'completed',
    totalTime: 250,
    setupTime: 12,
    downtime: 3,
    expectedDowntime: 300,
    cpuThrottlePercentage: undefined,
    errorDesc: undefined,
    dirtyTracking: 'wp-async',
    ram: {
      transferred: 300_000,
      remaining: 0,
      total: 64 * 4096,
      duplicate: 8,
      normal: 70,
      normalBytes: 70 * 4096,
      dirtySyncCount: 3,
      postcopyRequests: 5,
      pageSize: 4096,
      precopyBytes: 200_000,
      downtimeBytes: 0,
      postcopyBytes: 90_000,
      mbps: 9.6,
      skipped: 0,
      dirtyPagesRate: 12,
      pagesPerSecond: 1000,
      multifdBytes: 0,
      dirtySyncMissedZeroCopy: 0,
    },
  },
  guest: {
    writes: 1000,
    writesHere: 1000,
    badPages: 0,
    lostWrites: 0,
    startedUs: 1_000_000,
    firstWriteUs: 1_000_010,
    stoppedUs: 5_000_000,
  },
};

export const destinationDone: DestinationDone = {
  side: 'destination',
  info: {
    status: 'completed',
    postcopy: true,
    ram: {
      transferred: 300_000,
      duplicate: 8,
      normal: 70,
      precopyBytes: 200_000,
      postcopyBytes: 90_000,
      postcopyRequests: 5,
      postcopyRequestsServed: 5,
      pageSize: 4096,
    },
    faults: {
      count: 6,
      p50Us: 63,
      p99Us: 1200,
      maxUs: 1500,
      stages: {
        requestSent: { p50Us: 5, p99Us: 20, maxUs: 30 },
        pageArrived: { p50Us: 50, p99Us: 1100, maxUs: 1400 },
        pagePlaced: { p50Us: 8, p99Us: 80, maxUs: 90 },
      },
    },
    postcopyBlocktime: undefined,
    postcopyVcpuBlocktime: undefined,
    lost: undefined,
  },
  guest: {
    writes: 1500,
    writesHere: 500,
    badPages: 0,
    lostWrites: 0,
    startedUs: 5_004_500,
    firstWriteUs: 5_004_510,
    stoppedUs: 6_000_000,
  },
  verdict: {
    pagesChecked: 64,
    lostPages: 0,
    tornPages: 0,
    stalePages: 0,
    lostWrites: 0,
    badPages: [],
  },
};
