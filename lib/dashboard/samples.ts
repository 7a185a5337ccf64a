/**
 * Samples over time, of which there are never more than a page can show: when there are too many, those that lie
 * closest become one. So all lie about as close, however long it takes. Pure, and the same wherever it is done.
 */
import type { DestinationSample, SourceSample } from './model.js';

export const SAMPLES_MAX = 600;

type Sample = SourceSample | DestinationSample;

/** The later one, with the worse latencies of both. */
function asOne<Each extends Sample>(one: Each, later: Each): Each {
  if (!('latency' in one) || !('latency' in later) || one.latency === null) return later;
  const isWorse = later.latency === null || one.latency.total.p99Us > later.latency.total.p99Us;
  return isWorse ? { ...later, latency: one.latency } : later;
}

/** Pairs that lie no further apart than most of the closest become one; the first and the last stay as they are. */
function thinned<Each extends Sample>(samples: readonly Each[]): Each[] {
  const gaps = samples.slice(1).map(({ atMs }, i) => atMs - samples[i].atMs);
  const close = [...gaps].sort((a, b) => a - b)[Math.floor(gaps.length / 10)] * 1.5;
  const kept: Each[] = [samples[0]];
  for (let at = 1; at < samples.length; at += 1) {
    const next = samples[at + 1];
    const isPair = at + 2 < samples.length && next.atMs - samples[at].atMs <= close;
    kept.push(isPair ? asOne(samples[at], next) : samples[at]);
    if (isPair) at += 1;
  }
  return kept;
}

/** `fresh` behind `before`. */
export function withSamples<Each extends Sample>(before: readonly Each[], fresh: readonly Each[]): readonly Each[] {
  let all: readonly Each[] = [...before, ...fresh];
  while (all.length > SAMPLES_MAX) {
    const fewer = thinned(all);
    if (fewer.length === all.length) return all.slice(-SAMPLES_MAX);
    all = fewer;
  }
  return all;
}
