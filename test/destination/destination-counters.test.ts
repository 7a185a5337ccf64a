/** What the destination counts: over one buffer in each of its threads. */
import { expect, test } from 'vitest';
import { createDestinationCounters, destinationCounterNames } from '#lib/destination/destination-counters.js';

test('are the same counters over one buffer, each for itself', () => {
  const one = createDestinationCounters();
  const other = createDestinationCounters(one.buffer);
  for (const [index, name] of destinationCounterNames.entries()) one.add(name, index + 1);
  const expected = Object.fromEntries(destinationCounterNames.map((name, index) => [name, index + 1]));
  expect(other.snapshot()).toEqual(expected);
});
