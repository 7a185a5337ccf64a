/**
 * Keeps what the sides of migrations tell: the last of each, its events, and samples over time. Of none there is more
 * than a page can show. Pure.
 */
import { type LatencyStage, latencyStages } from '../destination/fault-latency.js';
import { withEvents } from './events.js';
import {
  type DestinationRecord,
  type DestinationSample,
  type Model,
  type Outcome,
  RUNS_MAX,
  type Run,
  type SourceRecord,
} from './model.js';
import { withSamples } from './samples.js';
import { type DestinationSnapshot, latencyBoundsUs, type SideSnapshot } from './snapshot.js';

/** What counts have come to since. */
function since(counts: readonly number[], before: readonly number[] | undefined): readonly number[] {
  return before === undefined ? counts : counts.map((count, i) => count - before[i]);
}

/** The latency that `share` of what was counted did not exceed, in µs, as exact as the bounds are close; 0 of none. */
export function percentileUs(counts: readonly number[], share: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let left = total * share;
  for (const [i, count] of counts.entries()) {
    if (count > 0 && left <= count) {
      const low = i === 0 ? 0 : latencyBoundsUs[i - 1];
      const high = latencyBoundsUs[i] ?? low;
      return low + ((high - low) * left) / count;
    }
    left -= count;
  }
  return 0;
}

type Latency = DestinationSnapshot['latency'];

function latencySince(latency: Latency, before: Latency | undefined): DestinationSample['latency'] {
  const of = (stage: LatencyStage) => {
    const counts = since(latency[stage], before?.[stage]);
    return { p50Us: percentileUs(counts, 0.5), p99Us: percentileUs(counts, 0.99) };
  };
  const served = since(latency.total, before?.total).reduce((sum, count) => sum + count, 0);
  if (served === 0) return null;
  return Object.fromEntries(latencyStages.map((stage) => [stage, of(stage)])) as DestinationSample['latency'];
}

interface MutableRun {
  readonly id: number;
  readonly startedMs: number;
  outcome: Outcome | null;
  source: SourceRecord | null;
  destination: DestinationRecord | null;
}

export class Recorder {
  #title: string;
  #runs: MutableRun[] = [];
  #lastId = 0;

  constructor(title: string) {
    this.#title = title;
  }

  get model(): Model {
    return { title: this.#title, runs: this.#runs };
  }

  /** A migration begins. */
  begin(startedMs: number): number {
    this.#lastId += 1;
    const run: MutableRun = { id: this.#lastId, startedMs, outcome: null, source: null, destination: null };
    this.#runs = [...this.#runs, run].slice(-RUNS_MAX);
    return run.id;
  }

  /** A side of that migration tells. Nothing where it is forgotten. Returns what is new. */
  add(id: number, { events, ...snapshot }: SideSnapshot): Run | undefined {
    const run = this.#runs.find((each) => each.id === id);
    if (run === undefined) return undefined;
    const fresh = { id, startedMs: run.startedMs, outcome: run.outcome, source: null, destination: null };
    if (snapshot.side === 'source') {
      const { atMs, info, guest } = snapshot;
      const { transferred, remaining } = info.ram;
      const sample = { atMs, transferred, remaining, writes: guest?.writesHere ?? 0 };
      const before = run.source;
      const shown = { ...snapshot, map: snapshot.map ?? before?.snapshot.map ?? null };
      run.source = {
        snapshot: shown,
        events: withEvents(before?.events ?? [], events),
        samples: withSamples(before?.samples ?? [], [sample]),
      };
      return { ...fresh, source: { snapshot: shown, events, samples: [sample] } };
    }
    const { atMs, info, guest, latency } = snapshot;
    const { postcopyRequests, postcopyRequestsServed, transferred } = info.ram;
    const before = run.destination;
    const sample = {
      atMs,
      transferred,
      faults: info.faults.count,
      waiting: Math.max(0, postcopyRequests - postcopyRequestsServed),
      writes: guest?.writesHere ?? 0,
      latency: latencySince(latency, before?.snapshot.latency),
    };
    const shown = { ...snapshot, map: snapshot.map ?? before?.snapshot.map ?? null };
    run.destination = {
      snapshot: shown,
      events: withEvents(before?.events ?? [], events),
      samples: withSamples(before?.samples ?? [], [sample]),
    };
    return { ...fresh, destination: { snapshot: shown, events, samples: [sample] } };
  }

  /** That migration has ended so. */
  end(id: number, outcome: Outcome): void {
    const run = this.#runs.find((each) => each.id === id);
    if (run !== undefined) run.outcome = outcome;
  }
}
