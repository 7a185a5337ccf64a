/**
 * Fault latency, as histograms: the whole of it, from the moment the fault was read until the page was placed,
 * and by stages. Listen thread only.
 */
import { build, type Histogram } from 'hdr-histogram-js';

export interface LatencySummary {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

/** What each stage ends with: the request sent, the page decoded, the page placed; and all of them together. */
export const latencyStages = ['total', 'requestSent', 'pageArrived', 'pagePlaced'] as const;

export type LatencyStage = (typeof latencyStages)[number];

const newHistogram = (): Histogram =>
  build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3_600_000_000,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
  });

/** Zeroes when nothing was recorded. */
function summaryOf(histogram: Histogram): LatencySummary {
  const { totalCount, maxValue } = histogram;
  if (totalCount === 0) return { p50Us: 0, p99Us: 0, maxUs: 0 };
  return { p50Us: histogram.getValueAtPercentile(50), p99Us: histogram.getValueAtPercentile(99), maxUs: maxValue };
}

export class FaultLatency {
  readonly #histograms: Readonly<Record<LatencyStage, Histogram>> = {
    total: newHistogram(),
    requestSent: newHistogram(),
    pageArrived: newHistogram(),
    pagePlaced: newHistogram(),
  };

  /**
   * The moments of one page, in µs. A page that was on its way already may arrive before it is asked for, and be
   * placed before the request is out: a stage that ended before it began took no time.
   */
  record(faultUs: number, sentUs: number, arrivedUs: number, placedUs: number): void {
    const { total, requestSent, pageArrived, pagePlaced } = this.#histograms;
    const sent = Math.min(Math.max(sentUs, faultUs), placedUs);
    const arrived = Math.min(Math.max(arrivedUs, sent), placedUs);
    total.recordValue(Math.round(placedUs - faultUs));
    requestSent.recordValue(Math.round(sent - faultUs));
    pageArrived.recordValue(Math.round(arrived - sent));
    pagePlaced.recordValue(Math.round(placedUs - arrived));
  }

  /** Takes tens of microseconds. */
  summary(stage: LatencyStage): LatencySummary {
    return summaryOf(this.#histograms[stage]);
  }
}
