/** The limit of a migration, from what the parts of the host can do. */
import { expect, test } from 'vitest';
import { throughputLimit } from '../../bench/throughput-limit.ts';

const rates = { copy: 200, zeropage: 400, memcpy: 1000, read: 1600, socket: 500 };

test('the slowest of the source, the socket and the destination is the limit', () => {
  expect(throughputLimit('postcopy', 'incompressible', rates)).toBe(200);
  expect(throughputLimit('postcopy', 'incompressible', { ...rates, socket: 150 })).toBe(150);
  expect(throughputLimit('precopy', 'incompressible', { ...rates, socket: 1e9 })).toBe(1000);
  expect(throughputLimit('precopy', 'incompressible', { ...rates, socket: 1e9, read: 900 })).toBe(900);
});

test('pages of zeroes take no part of the socket, and are placed at their own rate', () => {
  expect(throughputLimit('postcopy', 'half-zero', { ...rates, socket: 50 })).toBe(100);
  expect(throughputLimit('postcopy', 'half-zero', rates)).toBeCloseTo(1 / (0.5 / 200 + 0.5 / 400));
  expect(throughputLimit('postcopy', 'all-zero', { ...rates, socket: 1 })).toBe(400);
  expect(throughputLimit('precopy', 'all-zero', { ...rates, socket: 1 })).toBe(1600);
});
