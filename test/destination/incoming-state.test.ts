/** The destination's statuses: every step from every status. */
import { describe, expect, test } from 'vitest';
import { IncomingState, type IncomingStatus, incomingStatuses } from '#lib/destination/incoming-state.js';

const wayTo: Readonly<Record<IncomingStatus, readonly IncomingStatus[]>> = {
  none: [],
  setup: ['setup'],
  active: ['setup', 'active'],
  'postcopy-active': ['setup', 'active', 'postcopy-active'],
  'postcopy-paused': ['setup', 'active', 'postcopy-active', 'postcopy-paused'],
  'postcopy-recover': ['setup', 'active', 'postcopy-active', 'postcopy-paused', 'postcopy-recover'],
  completed: ['setup', 'active', 'completed'],
  failed: ['setup', 'failed'],
};

const legal: ReadonlySet<string> = new Set([
  'none setup',
  'setup active',
  'setup failed',
  'active postcopy-active',
  'active postcopy-paused',
  'active completed',
  'active failed',
  'postcopy-active completed',
  'postcopy-active postcopy-paused',
  'postcopy-active failed',
  'postcopy-paused postcopy-recover',
  'postcopy-paused completed',
  'postcopy-paused failed',
  'postcopy-recover postcopy-active',
  'postcopy-recover postcopy-paused',
  'postcopy-recover completed',
  'postcopy-recover failed',
]);

describe.each(incomingStatuses)('from %s', (from) => {
  test.each(incomingStatuses)('to %s', (to) => {
    const state = new IncomingState();
    for (const next of wayTo[from]) state.move(next);
    if (legal.has(`${from} ${to}`)) {
      state.move(to);
      expect(state.status).toBe(to);
    } else {
      expect(() => state.move(to)).toThrow(new RangeError(`no transition from ${from} to ${to}`));
      expect(state.status).toBe(from);
    }
  });
});
