/** The events of a side: in order, and how it began and what was last. */
import { expect, test } from 'vitest';
import { EVENTS_MAX, withEvents } from '#lib/dashboard/events.js';
import type { SideEvent } from '#lib/dashboard/snapshot.js';

const at = (atMs: number): SideEvent => ({ atMs, kind: 'pass', value: atMs });

test('in the order of time, whichever thread told first', () => {
  expect(withEvents([at(1), at(4)], [at(3), at(5)]).map(({ atMs }) => atMs)).toEqual([1, 3, 4, 5]);
});

test('of very many the first ones and the last ones', () => {
  let events: readonly SideEvent[] = [];
  for (let atMs = 0; atMs < 5000; atMs += 1) events = withEvents(events, [at(atMs)]);
  expect(events).toHaveLength(EVENTS_MAX);
  expect([events[0], events[99], events.at(-1)]).toEqual([at(0), at(99), at(4999)]);
});
