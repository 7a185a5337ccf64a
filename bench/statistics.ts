/** What rounds of measurements come to. Pure. */

export interface Spread {
  readonly least: number;
  readonly median: number;
  readonly most: number;
}

/** Of at least one value. */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('the spread of no values');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { least: sorted[0], median, most: sorted[sorted.length - 1] };
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
