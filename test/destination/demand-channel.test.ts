/** The words of a demand channel: the same in each thread, and values that are told apart. */
import { expect, test } from 'vitest';
import {
  createDemandChannelWords,
  DemandKind,
  DemandPhase,
  demandChannelNames,
} from '#lib/destination/demand-channel.js';

test('are the same words over one buffer, each for itself, 0 at first', () => {
  const one = createDemandChannelWords();
  const other = createDemandChannelWords(one.buffer);
  expect(demandChannelNames.map((name) => other.get(name))).toEqual(demandChannelNames.map(() => 0));
  for (const [index, name] of demandChannelNames.entries()) one.set(name, index + 1);
  expect(demandChannelNames.map((name) => other.get(name))).toEqual(demandChannelNames.map((_, index) => index + 1));
});

test.each([
  [DemandPhase, 'IDLE'],
  [DemandKind, 'PREEMPT'],
])('%o has different values, and begins as %s', (values: Readonly<Record<string, number>>, first) => {
  expect(new Set(Object.values(values)).size).toBe(Object.keys(values).length);
  expect(values[first]).toBe(0);
});
