/** What rounds of measurements come to. Pure. */
import { type BenchSpread, benchSpread } from '#lib/cli/bench-report.js';

export type Spread = BenchSpread;

/** Of at least one value. */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('the spread of no values');
  return benchSpread(values);
}

/**
 * How many times `values` are the baseline's, round by round: value i over baseline i, which were measured one
 * behind the other, so that a slow moment of the host is in both. Both have as many.
 */
export function ratiosTo(baseline: readonly number[], values: readonly number[]): Spread {
  if (baseline.length !== values.length) {
    throw new RangeError(`${values.length} rounds beside ${baseline.length} of the baseline`);
  }
  return spreadOf(values.map((value, round) => value / baseline[round]));
}

/** The least value that at least that part of `values` does not exceed. */
export function quantile(values: readonly number[], part: number): number {
  if (values.length === 0) throw new RangeError('a quantile of no values');
  return quantileOf(
    [...values].sort((a, b) => a - b),
    part,
  );
}

/** The same of values that are sorted. */
export function quantileOf(sorted: ArrayLike<number>, part: number): number {
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];
}
