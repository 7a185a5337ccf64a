/** The programme that measures the host: it is built, and each of its figures is there. */
import { expect, test } from 'vitest';
import { measureFaults, measureMemory, measureSocket } from '../../bench/limits-program.ts';

const MIB = 1024 * 1024;

test('rates of memory and of a socket', { timeout: 60_000 }, async () => {
  const { copy, zeropage, memcpy, read } = await measureMemory(4 * MIB);
  for (const rates of [copy, zeropage]) {
    expect(Object.keys(rates).map(Number)).toEqual([4, 16, 64, 256, 1024, 2048].map((kib) => kib * 1024));
    for (const rate of Object.values(rates)) expect(rate).toBeGreaterThan(0);
  }
  expect(memcpy).toBeGreaterThan(0);
  expect(read).toBeGreaterThan(0);
  expect(await measureSocket('unix', 16 * MIB)).toBeGreaterThan(0);
  expect(await measureSocket('tcp', 16 * MIB)).toBeGreaterThan(0);
});

test.each(['local', 'unix', 'tcp'] as const)('page faults that are served: %s', { timeout: 60_000 }, async (place) => {
  const { perSecond, p50Us, p99Us, mostUs } = await measureFaults(place, 200);
  expect(perSecond).toBeGreaterThan(0);
  expect(p50Us).toBeGreaterThan(0);
  expect(p99Us).toBeGreaterThanOrEqual(p50Us);
  expect(mostUs).toBeGreaterThanOrEqual(p99Us);
});
