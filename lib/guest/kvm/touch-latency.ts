/** The histogram of the programme `latency`, in microseconds. Pure. */
import { HISTOGRAM_BUCKETS } from './own-page.js';

/** How long the touches of a guest took, measured in it with the TSC. All times in µs. */
export interface TouchLatency {
  readonly touches: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  /** Touches by time: those of at least `fromUs`, and less than the next one's. Only what is not empty. */
  readonly buckets: readonly { readonly fromUs: number; readonly count: number }[];
}

/** The least cycles of a bucket: four of them for each power of two. */
const cyclesOf = (bucket: number): number => (4 + (bucket & 3)) * 2 ** ((bucket >> 2) - 2);

/** `histograms` and `maxCycles` are of each vCPU. A percentile is the upper bound of its bucket, or the maximum. */
export function touchLatency(
  histograms: readonly Uint32Array[],
  maxCycles: readonly number[],
  tscKhz: number,
): TouchLatency {
  const toUs = (cycles: number): number => (cycles * 1000) / tscKhz;
  const counts = Array.from({ length: HISTOGRAM_BUCKETS }, (_, bucket) =>
    histograms.reduce((sum, histogram) => sum + histogram[bucket], 0),
  );
  const touches = counts.reduce((sum, count) => sum + count, 0);
  const maxUs = toUs(Math.max(0, ...maxCycles));
  const percentile = (share: number): number => {
    let left = Math.ceil(touches * share);
    for (const [bucket, count] of counts.entries()) {
      left -= count;
      if (left <= 0) return Math.min(maxUs, toUs(cyclesOf(bucket + 1)));
    }
    return maxUs;
  };
  return {
    touches,
    p50Us: touches === 0 ? 0 : percentile(0.5),
    p99Us: touches === 0 ? 0 : percentile(0.99),
    maxUs,
    buckets: counts.flatMap((count, bucket) => (count === 0 ? [] : [{ fromUs: toUs(cyclesOf(bucket)), count }])),
  };
}
