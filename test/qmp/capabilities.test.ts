/** Capabilities as QMP has them. */
import { expect, test } from 'vitest';
import { defaultCapabilities } from '#lib/options.js';
import { CapabilitySet, capabilityNames } from '#lib/qmp/capabilities.js';

test('are off at first, all of the engine and events, under QEMU’s names', () => {
  const set = new CapabilitySet();
  expect(set.list().every(({ state }) => !state)).toBe(true);
  expect(set.forEngine()).toEqual(defaultCapabilities);
  expect(capabilityNames).toEqual([
    'events',
    'postcopy-ram',
    'return-path',
    'auto-converge',
    'postcopy-blocktime',
    'postcopy-preempt',
  ]);
});

test('what was set stays, until it is unset', () => {
  const set = new CapabilitySet();
  set.set([{ capability: 'postcopy-ram', state: true }]);
  set.set([{ capability: 'events', state: true }]);
  expect(set.has('events')).toBe(true);
  expect(set.forEngine()).toEqual({ ...defaultCapabilities, postcopyRam: true });
  set.set([{ capability: 'postcopy-ram', state: false }]);
  expect(set.list().filter(({ state }) => state)).toEqual([{ capability: 'events', state: true }]);
});

test('what does not go together changes nothing', () => {
  const set = new CapabilitySet();
  const preempt = { capability: 'postcopy-preempt', state: true };
  expect(() => set.set([{ capability: 'events', state: true }, preempt])).toThrow(
    'Postcopy preempt requires postcopy-ram',
  );
  expect(set.has('events')).toBe(false);
  set.set([preempt, { capability: 'postcopy-ram', state: true }]);
  expect(() => set.set([{ capability: 'postcopy-ram', state: false }])).toThrow('Postcopy preempt requires');
});
