/** What the source counts: over one buffer in each of its threads. */
import { expect, test } from 'vitest';
import { createSourceCounters, sourceCounterNames } from '#lib/source/source-counters.js';

test('are the same counters over one buffer, each for itself', () => {
  const one = createSourceCounters();
  const other = createSourceCounters(one.buffer);
  for (const [index, name] of sourceCounterNames.entries()) one.add(name, index + 1);
  const expected = Object.fromEntries(sourceCounterNames.map((name, index) => [name, index + 1]));
  expect(other.snapshot()).toEqual(expected);
});
