/** A lane as the source's threads share it. */
import { expect, test } from 'vitest';
import { createLane, createLaneWords } from '#lib/source/lane.js';
import { createSourceCounters } from '#lib/source/source-counters.js';

test('each has words, counters and a lock of its own', () => {
  const [one, other] = [createLane(), createLane()];
  createLaneWords(one.words).set('SOCKET', 7);
  createSourceCounters(one.counters).add('urgentPages', 3);
  expect(createLaneWords(one.words).get('SOCKET')).toBe(7);
  expect(createLaneWords(other.words).get('SOCKET')).toBe(0);
  expect(createSourceCounters(other.counters).get('urgentPages')).toBe(0);
  expect(one.urgentLock).not.toBe(other.urgentLock);
});
