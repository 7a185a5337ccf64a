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

/** What is told of many times, in microseconds. */
export interface Quantiles {
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly mostUs: number;
}

/** Of at least one time. */
export function quantilesOf(microseconds: readonly number[]): Quantiles {
  const at = (part: number): number => quantile(microseconds, part);
  return { p50Us: at(0.5), p90Us: at(0.9), p99Us: at(0.99), p999Us: at(0.999), mostUs: at(1) };
}

/** As figures of a sample; `what` is how each begins. */
export function quantileFigures(quantiles: Quantiles, what = ''): Readonly<Record<string, number>> {
  const { p50Us, p90Us, p99Us, p999Us, mostUs } = quantiles;
  const named = { p50: p50Us, p90: p90Us, p99: p99Us, p999: p999Us, most: mostUs };
  return Object.fromEntries(Object.entries(named).map(([name, value]) => [`${what}${name} µs`, value]));
}

/** The least value that at least that part of `values` does not exceed. */
export function quantile(values: readonly number[], part: number): number {
  if (values.length === 0) throw new RangeError('a quantile of no values');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)];
}
