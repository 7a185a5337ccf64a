/** The words that the source's threads share: the same in each of them, and phases that are told apart. */
import { expect, test } from 'vitest';
import { createSourceSignals, ReturnPathPhase, sourceSignalNames } from '#lib/source/source-signals.js';

test('are the same words over one buffer, each for itself, 0 at first', () => {
  const one = createSourceSignals();
  const other = createSourceSignals(one.buffer);
  expect(sourceSignalNames.map((name) => other.get(name))).toEqual(sourceSignalNames.map(() => 0));
  for (const [index, name] of sourceSignalNames.entries()) one.set(name, index + 1);
  expect(sourceSignalNames.map((name) => other.get(name))).toEqual(sourceSignalNames.map((_, index) => index + 1));
});

test('no two phases of the return path are one, and a new word says there is none', () => {
  const phases = Object.values(ReturnPathPhase);
  expect(new Set(phases).size).toBe(phases.length);
  expect(createSourceSignals().get('RETURN_PATH')).toBe(ReturnPathPhase.NONE);
});
