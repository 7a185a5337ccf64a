/** Names in QMP and in the API. */
import { expect, test } from 'vitest';
import { toQmpName, toQmpNames } from '#lib/qmp/names.js';

test('words are set apart by hyphens', () => {
  expect(['postcopyRam', 'events', 'maxCpuThrottle'].map(toQmpName)).toEqual([
    'postcopy-ram',
    'events',
    'max-cpu-throttle',
  ]);
  expect(toQmpNames({ maxBandwidth: 1, downtimeLimit: 2 })).toEqual({ 'max-bandwidth': 1, 'downtime-limit': 2 });
});
