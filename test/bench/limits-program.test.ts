/** The programme that measures the host: it is built, and each of its figures is there. */
import { expect, test } from 'vitest';
import { measureFaults, measureRate, measureSocket } from '../../bench/limits-program.ts';

const MIB = 1024 * 1024;

test.each(['copy', 'zeropage', 'memcpy', 'read'] as const)(
  'a rate of memory: %s',
  { timeout: 60_000 },
  async (what) => {
    for (const chunk of [4096, 2 * MIB]) expect(await measureRate(what, chunk, 4 * MIB)).toBeGreaterThan(0);
  },
);

test.each(['unix', 'tcp'] as const)('the rate of a socket: %s', { timeout: 60_000 }, async (transport) => {
  expect(await measureSocket(transport, 16 * MIB)).toBeGreaterThan(0);
});

test.each(['local', 'unix', 'tcp'] as const)('page faults that are served: %s', { timeout: 60_000 }, async (place) => {
  const { perSecond, p50Us, p90Us, p99Us, p999Us, mostUs } = await measureFaults(place, 200);
  expect(perSecond).toBeGreaterThan(0);
  const times = [p50Us, p90Us, p99Us, p999Us, mostUs];
  expect(times[0]).toBeGreaterThan(0);
  expect(times).toEqual([...times].sort((a, b) => a - b));
});
