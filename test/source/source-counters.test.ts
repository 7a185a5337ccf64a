/** What the source counts: over one buffer in each of its threads. */
import { expect, test } from 'vitest';
import { createSourceCounters, demandTotal, sourceCounterNames, sumOfCounters } from '#lib/source/source-counters.js';

test('are the same counters over one buffer, each for itself', () => {
  const one = createSourceCounters();
  const other = createSourceCounters(one.buffer);
  for (const [index, name] of sourceCounterNames.entries()) one.add(name, index + 1);
  const expected = Object.fromEntries(sourceCounterNames.map((name, index) => [name, index + 1]));
  expect(other.snapshot()).toEqual(expected);
});

test('with the lanes only what answers requests is added up', () => {
  const [own, ...lanes] = [1, 10, 100].map((value) => {
    const counters = createSourceCounters();
    for (const name of sourceCounterNames) counters.set(name, value);
    return counters;
  });
  const sum = sumOfCounters(own, lanes);
  expect(sum).toMatchObject({ transferred: 1, normal: 1, downtime: 1 });
  expect(sum).toMatchObject({ postcopyRequests: 111, urgentPages: 111, urgentBytes: 111 });
  expect(sum).toMatchObject({ urgentNormal: 111, urgentDuplicate: 111 });
  expect(demandTotal('urgentPages', lanes)).toBe(110);
});
