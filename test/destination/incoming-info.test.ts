/** The info of an incoming migration: each figure from its counter, under its name. */
import { expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { type LatencyStage, latencyStages } from '#lib/destination/fault-latency.js';
import { incomingInfo } from '#lib/destination/incoming-info.js';

/** Counters with a number of their own each. */
const counters = createDestinationCounters();
for (const [index, name] of counters.names.entries()) counters.set(name, index + 1);
const c = counters.snapshot();

const latency = (stage: LatencyStage) => {
  const p50Us = latencyStages.indexOf(stage) * 100;
  return { p50Us, p99Us: p50Us + 1, maxUs: p50Us + 2 };
};

const parts = {
  status: 'postcopy-active',
  postcopy: true,
  counters: c,
  latency,
  blocktime: undefined,
  guestDied: undefined,
  lost: undefined,
} as const;

test('each figure has its place', () => {
  const info = incomingInfo(parts);
  expect(info).toMatchObject({
    status: 'postcopy-active',
    postcopy: true,
    ram: {
      transferred: c.transferred,
      duplicate: c.duplicate,
      normal: c.normal,
      precopyBytes: c.precopyBytes,
      postcopyBytes: c.postcopyBytes,
      postcopyRequests: c.postcopyRequests,
      postcopyRequestsServed: c.requestsServed,
      pageSize: 4096,
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
    postcopyBlocktime: undefined,
    postcopyVcpuBlocktime: undefined,
    lost: undefined,
  });
});

test('blocktimes are milliseconds', () => {
  const info = incomingInfo({ ...parts, blocktime: { overallUs: 1500, vcpuUs: [2000, 250] } });
  expect(info.postcopyBlocktime).toBe(1.5);
  expect(info.postcopyVcpuBlocktime).toEqual([2, 0.25]);
});

test('a death is told', () => {
  const guestDied = 'the guest died: vCPU 0 shut down';
  expect(incomingInfo({ ...parts, guestDied }).guestDied).toBe(guestDied);
});

test('a loss is told', () => {
  const lost = { missingPages: 3, isPoisoned: false, hasRun: true, reason: 'the source has gone' };
  expect(incomingInfo({ ...parts, status: 'failed', lost }).lost).toEqual(lost);
});
