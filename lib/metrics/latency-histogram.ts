/** Fault latency as Prometheus has a histogram: buckets that add up, in seconds. Pure. */
import { type LatencyStage, latencyStages } from '../destination/fault-latency.js';

/** Upper bounds of the buckets, in µs: from the fastest fault of a local memory to a pause that was recovered. */
export const latencyBoundsUs: readonly number[] = [
  50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
  5_000_000, 10_000_000, 60_000_000,
];

/** Of one stage: faults by bucket, the last without a bound, and µs in all. */
export interface StageLatency {
  readonly counts: readonly number[];
  readonly sumUs: number;
}

export type LatencyCounts = Readonly<Record<LatencyStage, StageLatency>>;

/** What an incoming migration knows of its faults. */
export interface LatencySource {
  latencyCounts(stage: LatencyStage, boundsUs: readonly number[]): number[];
  latencySumUs(stage: LatencyStage): number;
}

export function countLatency(incoming: LatencySource): LatencyCounts {
  const entries = latencyStages.map((stage): [LatencyStage, StageLatency] => [
    stage,
    { counts: incoming.latencyCounts(stage, latencyBoundsUs), sumUs: incoming.latencySumUs(stage) },
  ]);
  return Object.fromEntries(entries) as Record<LatencyStage, StageLatency>;
}

export interface HistogramSample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** `requestSent` as a label's value. */
const labelOf = (stage: LatencyStage): string => stage.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The samples of the histogram `name`: of each stage its buckets, their sum and count. */
export function histogramSamples(name: string, latency: LatencyCounts): HistogramSample[] {
  return latencyStages.flatMap((stage) => {
    const { counts, sumUs } = latency[stage];
    const labels = { stage: labelOf(stage) };
    let upTo = 0;
    const buckets = counts.map((count, index) => {
      upTo += count;
      const le = index < latencyBoundsUs.length ? String(latencyBoundsUs[index] / 1e6) : '+Inf';
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: upTo };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels, value: sumUs / 1e6 },
      { metricName: `${name}_count`, labels, value: upTo },
    ];
  });
}
