/** What rounds come to. */
import { expect, test } from 'vitest';
import { quantile, quantileFigures, quantilesOf, ratiosTo, spreadOf } from '../../bench/statistics.ts';

test('the spread of an odd and of an even number of values, in whatever order they come', () => {
  expect(spreadOf([30, 10, 200])).toEqual({ least: 10, median: 30, most: 200 });
  expect(spreadOf([4, 1, 3, 2])).toEqual({ least: 1, median: 2.5, most: 4 });
  expect(spreadOf([7])).toEqual({ least: 7, median: 7, most: 7 });
  expect(() => spreadOf([])).toThrow(RangeError);
});

test('ratios are taken round by round, so that a slow moment which both had does not show', () => {
  expect(ratiosTo([100, 10, 50], [200, 20, 100])).toEqual({ least: 2, median: 2, most: 2 });
  expect(ratiosTo([100, 100], [50, 150])).toEqual({ least: 0.5, median: 1, most: 1.5 });
  expect(() => ratiosTo([1], [1, 2])).toThrow(RangeError);
});

test('a quantile is a value that was measured, and none of it is below the least', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect([0, 0.5, 0.99, 1].map((part) => quantile(hundred, part))).toEqual([1, 50, 99, 100]);
  expect(() => quantile([], 0.5)).toThrow(RangeError);
});

test('times are told by their quantiles, each under its name', () => {
  const times = Array.from({ length: 2000 }, (_, index) => index + 1);
  const quantiles = quantilesOf(times);
  expect(quantiles).toEqual({ p50Us: 1000, p90Us: 1800, p99Us: 1980, p999Us: 1998, mostUs: 2000 });
  expect(Object.entries(quantileFigures(quantiles, 'wait '))).toEqual([
    ['wait p50 µs', 1000],
    ['wait p90 µs', 1800],
    ['wait p99 µs', 1980],
    ['wait p999 µs', 1998],
    ['wait most µs', 2000],
  ]);
});
