/** How a migration stands, in words. */
import { expect, test } from 'vitest';
import { incomingText, latencyText, outgoingText } from '#lib/cli/migration-lines.js';
import { destinationDone, sourceDone } from '../../testing/demo-parts.ts';

test('a source: pages, bytes, rate, what is to go, and how long that takes at this rate', () => {
  const { info } = sourceDone;
  const at = (mbps: number, remaining: number) => outgoingText({ ...info, ram: { ...info.ram, mbps, remaining } });
  expect(at(8, 0)).toBe('78 pages sent (293 KiB, 977 KiB/s), 0 B to go');
  expect(at(8, 10_000_000)).toMatch(/, 9\.5 MiB to go, 10 s left$/);
  expect(at(0, 10_000_000)).toMatch(/, 0 B\/s\), 9\.5 MiB to go$/);
  const ram = { ...info.ram, mbps: 0.01, remaining: 10_000_000 };
  expect(outgoingText({ ...info, ram }, 5_000_000)).toMatch(/, 1\.2 KiB\/s\), 9\.5 MiB to go, 2 s left$/);
});

test('a destination: pages, bytes, faults and who waits', () => {
  const { info } = destinationDone;
  const ram = { ...info.ram, postcopyRequests: 5, postcopyRequestsServed: 3 };
  expect(incomingText({ ...info, ram })).toMatch(/^78 pages received \(.*\); 6 faults, 2 waiting, p50 63 µs, p99 /);
  // Pages may come before they are asked for.
  expect(incomingText({ ...info, ram: { ...ram, postcopyRequestsServed: 9 } })).toContain(', 0 waiting,');
});

test('a latency', () => {
  expect(latencyText({ p50Us: 63, p99Us: 950, maxUs: 2500 })).toBe('p50 63 µs, p99 950 µs, max 2.5 ms');
});
