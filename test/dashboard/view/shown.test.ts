/** The model as a page has it. */
import { expect, test } from 'vitest';
import { overTime, rates, withUpdate } from '#lib/dashboard/view/shown.js';

test('a run that is not known is a new one, and others stay as they are', () => {
  const run = { id: 1, startedMs: 0, outcome: null, source: null, destination: null };
  const model = { title: 'a', runs: [run] };
  const added = withUpdate(model, { ...run, id: 2 });
  expect(added.runs.map(({ id }) => id)).toEqual([1, 2]);
  const ended = withUpdate(added, { ...run, outcome: { isSuccess: true, text: 'completed' } });
  expect(ended.runs.map(({ outcome }) => outcome?.text)).toEqual(['completed', undefined]);
});

test('rates are by second, and never less than none', () => {
  const samples = [
    { atMs: 0, bytes: 0 },
    { atMs: 500, bytes: 100 },
    { atMs: 500, bytes: 150 },
    { atMs: 1500, bytes: 120 },
  ];
  expect(rates(samples, ({ bytes }) => bytes)).toEqual([null, 200, null, 0]);
});

test('series of different times share an axis', () => {
  const one = { atMs: [1, 3], values: [10, 30] };
  const other = { atMs: [2, 3], values: [20, null] };
  expect(overTime(one, other)).toEqual({
    atMs: [1, 2, 3],
    values: [
      [10, null, 30],
      [null, 20, null],
    ],
  });
});
