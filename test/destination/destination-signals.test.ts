/** The words that the destination's threads share: the same in each of them, and values that are told apart. */
import { describe, expect, test } from 'vitest';
import * as signals from '#lib/destination/destination-signals.js';

test('are the same words over one buffer, each for itself, 0 at first', () => {
  const names = signals.destinationSignalNames;
  const one = signals.createDestinationSignals();
  const other = signals.createDestinationSignals(one.buffer);
  expect(names.map((name) => other.get(name))).toEqual(names.map(() => 0));
  for (const [index, name] of names.entries()) one.set(name, index + 1);
  expect(names.map((name) => other.get(name))).toEqual(names.map((_, index) => index + 1));
});

describe.each([
  ['Handed', signals.Handed, 'NOT_YET'],
  ['Handover', signals.Handover, 'UNKNOWN'],
  ['FaultThreadPhase', signals.FaultThreadPhase, 'PARKED'],
  ['Package', signals.Package, 'PENDING'],
])('%s', (_name, values: Readonly<Record<string, number>>, first) => {
  test(`has different values, and begins as ${first}`, () => {
    expect(new Set(Object.values(values)).size).toBe(Object.keys(values).length);
    expect(values[first]).toBe(0);
  });
});
