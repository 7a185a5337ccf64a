/**
 * Fault latency, as histograms: the whole of it, from the moment the fault was read until the page was placed,
 * and by stages.
 *
 * Shared memory. The threads that place pages record, each while it has the lock of removed-pages.ts; the owner reads.
 */

export interface LatencySummary {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
}

/** What each stage ends with: the request sent, the page decoded, the page placed; and all of them together. */
export const latencyStages = ['total', 'requestSent', 'pageArrived', 'pagePlaced'] as const;

export type LatencyStage = (typeof latencyStages)[number];

/** Values below it have a bucket each; above, each doubling of the value has half as many: an error of a thousandth. */
const EXACT = 2048;
const PER_DOUBLING = EXACT / 2;
const EXACT_BITS = Math.log2(EXACT);
/** Microseconds that are told apart: 19 hours, as a fault may wait for as long as a migration is paused. */
const HIGHEST_BITS = 36;
const BUCKETS = EXACT + (HIGHEST_BITS - EXACT_BITS) * PER_DOUBLING;
/** The largest value, then the counts. */
const HISTOGRAM_BYTES = 8 + BUCKETS * 4;

/** How often the value is halved in its bucket. */
function halvings(value: number): number {
  return value < EXACT ? 0 : Math.floor(Math.log2(value)) - EXACT_BITS + 1;
}

function bucketOf(value: number): number {
  const times = halvings(value);
  return Math.min(times * PER_DOUBLING + Math.floor(value / 2 ** times), BUCKETS - 1);
}

/** The largest value of a bucket. */
function highestOf(bucket: number): number {
  const times = bucket < EXACT ? 0 : Math.floor(bucket / PER_DOUBLING) - 1;
  return (bucket - times * PER_DOUBLING + 1) * 2 ** times - 1;
}

class Histogram {
  readonly #max: Float64Array<SharedArrayBuffer>;
  readonly #counts: Uint32Array<SharedArrayBuffer>;

  constructor(buffer: SharedArrayBuffer, at: number) {
    this.#max = new Float64Array(buffer, at, 1);
    this.#counts = new Uint32Array(buffer, at + 8, BUCKETS);
  }

  record(value: number): void {
    if (value > this.#max[0]) this.#max[0] = value; // first: whoever reads looks no further
    this.#counts[bucketOf(value)] += 1;
  }

  /** Zeroes when nothing was recorded. */
  summary(): LatencySummary {
    const maxUs = this.#max[0];
    const total = this.#total();
    const at = (share: number) => Math.min(this.#valueAt(Math.ceil(total * share)), maxUs);
    return { p50Us: at(0.5), p99Us: at(0.99), maxUs };
  }

  /** How many values are at most each of `bounds`, which ascend, and above the one before; the last: above all. */
  counts(bounds: readonly number[]): number[] {
    const counts = new Array<number>(bounds.length + 1).fill(0);
    let at = 0;
    this.#each((bucket, count) => {
      while (at < bounds.length && highestOf(bucket) > bounds[at]) at += 1;
      counts[at] += count;
    });
    return counts;
  }

  /** Of all values, to a thousandth. */
  sum(): number {
    let sum = 0;
    this.#each((bucket, count) => {
      sum += count * highestOf(bucket);
    });
    return sum;
  }

  #total(): number {
    let total = 0;
    this.#each((_, count) => {
      total += count;
    });
    return total;
  }

  /** The value of which, with those below it, there are `rank`; 0 where there are not so many. */
  #valueAt(rank: number): number {
    let seen = 0;
    let value = 0;
    this.#each((bucket, count) => {
      if (seen < rank) value = highestOf(bucket);
      seen += count;
    });
    return value;
  }

  /**
   * The buckets that something is in. No further than that of the largest value: most faults take milliseconds, and
   * the buckets go on to hours.
   */
  #each(visit: (bucket: number, count: number) => void): void {
    const counts = this.#counts;
    const end = bucketOf(this.#max[0]) + 1;
    for (let bucket = 0; bucket < end; bucket += 1) {
      const count = counts[bucket];
      if (count !== 0) visit(bucket, count);
    }
  }
}

export class FaultLatency {
  readonly buffer: SharedArrayBuffer;
  readonly #histograms: Readonly<Record<LatencyStage, Histogram>>;

  /** `buffer` shares the histograms of another thread. */
  constructor(buffer = new SharedArrayBuffer(HISTOGRAM_BYTES * latencyStages.length)) {
    this.buffer = buffer;
    this.#histograms = Object.fromEntries(
      latencyStages.map((stage, index) => [stage, new Histogram(buffer, index * HISTOGRAM_BYTES)]),
    ) as Record<LatencyStage, Histogram>;
  }

  /**
   * The moments of one page, in µs. A page that was on its way already may arrive before it is asked for, and be
   * placed before the request is out: a stage that ended before it began took no time.
   */
  record(faultUs: number, sentUs: number, arrivedUs: number, placedUs: number): void {
    const { total, requestSent, pageArrived, pagePlaced } = this.#histograms;
    const sent = Math.min(Math.max(sentUs, faultUs), placedUs);
    const arrived = Math.min(Math.max(arrivedUs, sent), placedUs);
    total.record(Math.round(placedUs - faultUs));
    requestSent.record(Math.round(sent - faultUs));
    pageArrived.record(Math.round(arrived - sent));
    pagePlaced.record(Math.round(placedUs - arrived));
  }

  /**
   * How many faults took up to each of `boundsUs`, which ascend, and longer than the one before; the last number:
   * longer than all.
   */
  counts(stage: LatencyStage, boundsUs: readonly number[]): number[] {
    return this.#histograms[stage].counts(boundsUs);
  }

  /** Microseconds that all faults took, to a thousandth. */
  sumUs(stage: LatencyStage): number {
    return this.#histograms[stage].sum();
  }

  /** Takes tens of microseconds. */
  summary(stage: LatencyStage): LatencySummary {
    return this.#histograms[stage].summary();
  }
}
