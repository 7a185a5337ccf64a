/** The report of `postcopy bench`: what the rounds come to, and what a person reads. */
import { expect, test } from 'vitest';
import { benchRow, benchSpread, benchTable } from '#lib/cli/bench-report.js';
import { demoReport } from '#lib/cli/demo-report.js';
import { demoSettings, destinationDone, sourceDone } from '../../testing/demo-parts.ts';

const report = demoReport(demoSettings, sourceDone, destinationDone);

test('the middle of an odd and of an even number of rounds', () => {
  expect(benchSpread([5, 1, 9])).toEqual({ least: 1, median: 5, most: 9 });
  expect(benchSpread([4, 1, 3, 2])).toEqual({ least: 1, median: 2.5, most: 4 });
});

test('each round is RAM over its whole time, with its downtime and its faults', () => {
  const slow = { ...report, totalTimeMs: report.totalTimeMs * 2, downtimeMs: 6.5 };
  const row = benchRow('some way', [report, slow]);
  const fast = report.memoryBytes / (report.totalTimeMs / 1000);
  expect(row.way).toBe('some way');
  expect(row.bytesPerSecond).toEqual({ least: fast / 2, median: fast * 0.75, most: fast });
  expect(row.downtimeMs).toEqual({ least: 4.5, median: 5.5, most: 6.5 });
  expect(row.faults.median).toBe(report.faults.count);
  expect(row.faultP99Us.most).toBe(report.faults.p99Us);
});

test('the table holds throughput against placing alone', () => {
  const row = benchRow('some way', [report]);
  const table = benchTable({
    memoryBytes: report.memoryBytes,
    transport: 'unix',
    rounds: 1,
    placementBytesPerSecond: row.bytesPerSecond.median * 4,
    ways: [row],
  });
  expect(table).toContain('256 KiB over unix, 1 round');
  expect(table).toContain('some way');
  expect(table).toContain('25 %');
});
