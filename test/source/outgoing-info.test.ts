/** What an outgoing migration tells of itself, from its counters. */
import { expect, test } from 'vitest';
import { type InfoParts, outgoingInfo } from '#lib/source/outgoing-info.js';
import { createSourceCounters } from '#lib/source/source-counters.js';

function parts(set: Partial<InfoParts['counters']>, other: Partial<InfoParts> = {}): InfoParts {
  return {
    status: 'active',
    totalTime: 500,
    cpuThrottlePercentage: undefined,
    errorDesc: undefined,
    dirtyTracking: 'wp-async',
    counters: { ...createSourceCounters().snapshot(), ...set },
    hasEnded: false,
    totalBytes: 2 ** 20,
    downtimeLimit: 300,
    ...other,
  };
}

test('pages become bytes, and the rest is as it was counted', () => {
  const info = outgoingInfo(parts({ remainingPages: 3, normal: 2, duplicate: 7, setupTime: 8, downtimeBytes: 5 }));
  expect(info).toMatchObject({ status: 'active', totalTime: 500, setupTime: 8, dirtyTracking: 'wp-async' });
  expect(info.ram).toMatchObject({
    remaining: 12288,
    normal: 2,
    normalBytes: 8192,
    duplicate: 7,
    total: 2 ** 20,
    downtimeBytes: 5,
    pageSize: 4096,
  });
});

test('throughput is that of the last window, and over all when it has ended', () => {
  const counted = { bandwidth: 1_000_000, transferred: 250_000 };
  expect(outgoingInfo(parts(counted)).ram.mbps).toBe(8);
  expect(outgoingInfo(parts(counted, { hasEnded: true })).ram.mbps).toBe(4);
});

test('the downtime to expect is the limit until there is a figure', () => {
  expect(outgoingInfo(parts({})).expectedDowntime).toBe(300);
  expect(outgoingInfo(parts({ expectedDowntime: 12 })).expectedDowntime).toBe(12);
});
