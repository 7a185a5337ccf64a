/** Parameters that change while a migration runs. */
import { expect, test } from 'vitest';
import { defaultParameters } from '#lib/options.js';
import { LiveParameters } from '#lib/source/live-parameters.js';

test('are the defaults until they are set, and seen where the buffer is shared', () => {
  const owner = new LiveParameters();
  const thread = new LiveParameters(owner.buffer);
  expect(thread.all()).toEqual(defaultParameters);
  const changed = { ...defaultParameters, maxBandwidth: 2 ** 50, downtimeLimit: 1 };
  owner.set(changed);
  expect(thread.all()).toEqual(changed);
  expect(thread.get('maxBandwidth')).toBe(2 ** 50);
});
