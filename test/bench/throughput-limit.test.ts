/** The limit of a migration, from what the parts of the host can do. */
import { expect, test } from 'vitest';
import { placementRate, throughputLimit } from '../../bench/throughput-limit.ts';

const MIB = 1024 * 1024;
const memory = { copy: { 4096: 100, 65536: 200, [2 * MIB]: 900 }, zeropage: { 4096: 400 }, memcpy: 1000, read: 1600 };

test('a placement of more than 256 KiB is not what an engine can do', () => {
  expect(placementRate(memory.copy)).toBe(200);
});

test('the slowest of the source, the socket and the destination is the limit', () => {
  expect(throughputLimit('postcopy', 'incompressible', memory, 500)).toBe(200);
  expect(throughputLimit('postcopy', 'incompressible', memory, 150)).toBe(150);
  expect(throughputLimit('precopy', 'incompressible', memory, 1e9)).toBe(1000);
  expect(throughputLimit('precopy', 'all-zero', memory, 1)).toBe(1600);
});

test('pages of zeroes take no part of the socket, and are placed at their own rate', () => {
  expect(throughputLimit('postcopy', 'half-zero', memory, 50)).toBe(100);
  expect(throughputLimit('postcopy', 'half-zero', memory, 1e9)).toBeCloseTo(1 / (0.5 / 200 + 0.5 / 400));
  expect(throughputLimit('postcopy', 'all-zero', memory, 1)).toBe(400);
});
