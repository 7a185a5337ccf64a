/** Fault latency: from the moment the fault was read until the page was placed, as a histogram. Listen thread only. */
import { build, type Histogram } from 'hdr-histogram-js';

export interface FaultLatencySummary {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

export class FaultLatency {
  readonly #histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3_600_000_000,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
  });

  record(us: number): void {
    this.#histogram.recordValue(Math.max(1, Math.round(us)));
  }

  /** Zeroes when nothing was recorded. */
  get summary(): FaultLatencySummary {
    const { totalCount, maxValue } = this.#histogram;
    if (totalCount === 0) return { p50Us: 0, p99Us: 0, maxUs: 0 };
    return {
      p50Us: this.#histogram.getValueAtPercentile(50),
      p99Us: this.#histogram.getValueAtPercentile(99),
      maxUs: maxValue,
    };
  }
}
