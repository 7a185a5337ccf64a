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
    faults: { count: 6, p50Us: 63, p99Us: 1200, maxUs: 1500 },
    writes: { source: 1000, destination: 500 },
  });
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
  for (const said of ['stress, 256 KiB over unix', '250 ms', '4.5 ms', '70 with content, 8 zero', '63 µs', '1.2 ms']) {
    expect(table).toContain(said);
  }
  expect(table).toContain('nothing lost');
  expect(table).not.toContain('NO:');
});
