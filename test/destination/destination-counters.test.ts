/** What the destination counts: over one buffer in each of its threads. */
import { expect, test } from 'vitest';
import {
  createDestinationCounters,
  destinationCounterNames,
  sumOfCounters,
} from '#lib/destination/destination-counters.js';

test('are the same counters over one buffer, each for itself', () => {
  const one = createDestinationCounters();
  const other = createDestinationCounters(one.buffer);
  for (const [index, name] of destinationCounterNames.entries()) one.add(name, index + 1);
  const expected = Object.fromEntries(destinationCounterNames.map((name, index) => [name, index + 1]));
  expect(other.snapshot()).toEqual(expected);
});

test('the sum of channels changes none', () => {
  const [one, other] = [createDestinationCounters(), createDestinationCounters()];
  for (const [index, name] of destinationCounterNames.entries()) {
    one.set(name, index);
    other.set(name, 1000);
  }
  const expected = Object.fromEntries(destinationCounterNames.map((name, index) => [name, index + 1000]));
  expect(sumOfCounters([one, other])).toEqual(expected);
  expect([one.get('normal'), other.get('normal')]).toEqual([destinationCounterNames.indexOf('normal'), 1000]);
});
