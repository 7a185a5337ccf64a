/** The demo's report: its fields, and that it says verified only where all is well. */
import { describe, expect, test } from 'vitest';
import { type DestinationDone, demoReport, demoTable } from '#lib/cli/demo-report.js';
import { demoSettings, destinationDone, sourceDone } from '../../testing/demo-parts.ts';

const reportOf = (destination: DestinationDone = destinationDone) => demoReport(demoSettings, sourceDone, destination);

test('takes each field from the side that knows it', () => {
  expect(reportOf()).toEqual({
    status: 'completed',
    verified: true,
    lostWrites: 0,
    guest: 'stress',
    transport: 'unix',
    memoryBytes: 64 * 4096,
    memoryKind: 'anonymous',
    blocks: 1,
    setupTimeMs: 12,
    downtimeMs: 4.5,
    totalTimeMs: 250,
    ram: {
      transferred: 300_000,
      normal: 70,
      duplicate: 8,
      precopyBytes: 200_000,
      postcopyBytes: 90_000,
      postcopyRequests: 5,
      dirtySyncCount: 3,
      pageSize: 4096,
    },
    faults: destinationDone.info.faults,
    postcopyBlocktime: undefined,
    postcopyVcpuBlocktime: undefined,
    cpuThrottlePercentage: 0,
    forecast: null,
    dirtyTracking: 'wp-async',
    writes: { source: 1000, destination: 500 },
  });
});

test('recoveries are told where there were any', () => {
  const recoveries = { count: 3, pausedMs: 120, longestMs: 50 };
  const report = demoReport(demoSettings, { ...sourceDone, recoveries }, destinationDone);
  expect(report.recoveries).toEqual({ count: 3, pausedMs: 120 });
  expect(demoTable(report)).toContain('3 times, paused for 120 ms in all');
  expect(demoTable(reportOf())).not.toContain('recovered');
});

describe('is not verified when', () => {
  const { verdict, guest } = destinationDone;
  test.each<[string, DestinationDone]>([
    ['a page was lost', { ...destinationDone, verdict: { ...verdict, lostPages: 1 } }],
    ['a page was torn', { ...destinationDone, verdict: { ...verdict, tornPages: 1 } }],
    ['a page was stale', { ...destinationDone, verdict: { ...verdict, stalePages: 1 } }],
    ['the check missed a write', { ...destinationDone, verdict: { ...verdict, lostWrites: 1 } }],
    ['the guest came upon a bad page', { ...destinationDone, guest: { ...guest, badPages: 1 } }],
    ['the guest missed a write', { ...destinationDone, guest: { ...guest, lostWrites: 1 } }],
    ['not every page was checked', { ...destinationDone, verdict: { ...verdict, pagesChecked: 63 } }],
    ['nothing was checked', { ...destinationDone, verdict: { ...verdict, pagesChecked: 0 } }],
  ])('%s', (_what, destination) => {
    const report = reportOf(destination);
    expect(report.verified).toBe(false);
    expect(demoTable(report)).toContain('NO:');
  });
});

test('lost writes are those of the check and those that the guest missed', () => {
  const { verdict, guest } = destinationDone;
  const { lostWrites } = reportOf({
    ...destinationDone,
    verdict: { ...verdict, lostWrites: 3 },
    guest: { ...guest, lostWrites: 4 },
  });
  expect(lostWrites).toBe(7);
});

test('the table says what a person looks for', () => {
  const table = demoTable(reportOf());
  for (const said of [
    'stress, 256 KiB of anonymous memory, over unix',
    '250 ms',
    '4.5 ms',
    '70 with content, 8 zero',
    '63 µs',
    '1.2 ms',
  ]) {
    expect(table).toContain(said);
  }
  expect(table).toContain('nothing lost');
  expect(table).not.toContain('NO:');
});

test('what only some migrations have is in the report and the table of those', () => {
  const stage = { p50Us: 12, p99Us: 90, maxUs: 95 };
  const stages = { requestSent: stage, pageArrived: { ...stage, p50Us: 40 }, pagePlaced: { ...stage, p50Us: 8 } };
  const info = {
    ...destinationDone.info,
    faults: { ...destinationDone.info.faults, stages },
    postcopyBlocktime: 7,
    postcopyVcpuBlocktime: [9, 8.4],
  };
  const report = demoReport(
    { ...demoSettings, kind: 'hugetlb' },
    { ...sourceDone, info: { ...sourceDone.info, dirtyTracking: 'none' }, throttledPercent: 40 },
    { ...destinationDone, info, blocks: 3 },
  );
  expect(report).toMatchObject({
    memoryKind: 'hugetlb',
    blocks: 3,
    faults: { count: 6, p50Us: 63, stages },
    postcopyBlocktime: 7,
    postcopyVcpuBlocktime: [9, 8.4],
    cpuThrottlePercentage: 40,
    dirtyTracking: 'none',
  });
  const [plain, table] = [demoTable(reportOf()), demoTable(report)];
  const rows = [
    'of hugetlb memory in 3 blocks',
    'to the page’s arrival: p50 40 µs, p99 90 µs, max 95 µs',
    '9.0 ms, 8.4 ms; all at once 7.0 ms',
    'up to 40 % of the time',
    'switched to postcopy at once',
  ];
  for (const said of rows) {
    expect(table).toContain(said);
    expect(plain).not.toContain(said);
  }
});

test('the source says how much memory there was to check: blocks are rounded up to whole pages', () => {
  const larger = { ...sourceDone, memory: 65 * 4096 };
  expect(demoReport(demoSettings, larger, destinationDone)).toMatchObject({ verified: false, memoryBytes: 65 * 4096 });
});
