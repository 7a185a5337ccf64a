/** What the page shows: the model as it was told, with what is new put behind it. Pure. */
import { withEvents } from '../events.js';
import {
  type DestinationSample,
  type Model,
  RUNS_MAX,
  type Run,
  type SideRecord,
  type SourceSample,
} from '../model.js';
import { withSamples } from '../samples.js';

function merged<Snapshot, Sample extends SourceSample | DestinationSample>(
  before: SideRecord<Snapshot, Sample> | null,
  fresh: SideRecord<Snapshot, Sample> | null,
): SideRecord<Snapshot, Sample> | null {
  if (before === null || fresh === null) return fresh ?? before;
  return {
    ...fresh,
    events: withEvents(before.events, fresh.events),
    samples: withSamples(before.samples, fresh.samples),
  };
}

/** A run that the model does not have is a new one. */
export function withUpdate(model: Model, update: Run): Model {
  const before = model.runs.find(({ id }) => id === update.id);
  if (before === undefined) return { ...model, runs: [...model.runs, update].slice(-RUNS_MAX) };
  const run: Run = {
    ...update,
    source: merged(before.source, update.source),
    destination: merged(before.destination, update.destination),
  };
  return { ...model, runs: model.runs.map((each) => (each.id === update.id ? run : each)) };
}

/** How much of something came each second, between each two samples; null before the first. */
export function rates<Sample extends { readonly atMs: number }>(
  samples: readonly Sample[],
  of: (sample: Sample) => number,
): (number | null)[] {
  return samples.map((sample, i) => {
    if (i === 0) return null;
    const seconds = (sample.atMs - samples[i - 1].atMs) / 1000;
    return seconds > 0 ? Math.max(0, (of(sample) - of(samples[i - 1])) / seconds) : null;
  });
}

/** Two series over the times of both: null where one has no value. */
export function overTime(
  ...series: readonly { readonly atMs: readonly number[]; readonly values: readonly (number | null)[] }[]
): { readonly atMs: number[]; readonly values: (number | null)[][] } {
  const atMs = [...new Set(series.flatMap((each) => each.atMs))].sort((a, b) => a - b);
  const values = series.map((each) => {
    const at = new Map(each.atMs.map((time, i) => [time, each.values[i]]));
    return atMs.map((time) => at.get(time) ?? null);
  });
  return { atMs, values };
}
