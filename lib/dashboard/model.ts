/**
 * What a dashboard or a report shows: the migrations that this process has seen, each with what both sides told of it
 * over time. Types, as JSON carries them.
 */
import type { LatencyStage, LatencySummary } from '../destination/fault-latency.js';
import type { DestinationSnapshot, SideEvent, SourceSnapshot } from './snapshot.js';

export interface SourceSample {
  readonly atMs: number;
  /** Stream bytes so far, and bytes of RAM still to be sent. */
  readonly transferred: number;
  readonly remaining: number;
  /** Pages that the guest wrote here, so far. */
  readonly writes: number;
}

export interface DestinationSample {
  readonly atMs: number;
  readonly transferred: number;
  readonly faults: number;
  /** Faults that wait for their page. */
  readonly waiting: number;
  readonly writes: number;
  /** Of the faults since the sample before; null where there were none. */
  readonly latency: Readonly<Record<LatencyStage, Pick<LatencySummary, 'p50Us' | 'p99Us'>>> | null;
}

/** A snapshot whose events are in the record's list. */
type Shown<Snapshot> = Omit<Snapshot, 'events'>;

export interface SideRecord<Snapshot, Sample> {
  /** The last one, with the last map that there was. */
  readonly snapshot: Shown<Snapshot>;
  readonly events: readonly SideEvent[];
  readonly samples: readonly Sample[];
}

export type SourceRecord = SideRecord<SourceSnapshot, SourceSample>;
export type DestinationRecord = SideRecord<DestinationSnapshot, DestinationSample>;

/** The last migrations of a process, which are all that is kept. */
export const RUNS_MAX = 8;

export interface Outcome {
  readonly isSuccess: boolean;
  readonly text: string;
}

/** One migration; or what is new of one: its snapshots, and what is to be put behind its events and samples. */
export interface Run {
  readonly id: number;
  /** Milliseconds since the epoch. */
  readonly startedMs: number;
  readonly outcome: Outcome | null;
  /** Null where that side is none of ours, or has told nothing yet. */
  readonly source: SourceRecord | null;
  readonly destination: DestinationRecord | null;
}

export interface Model {
  /** What is shown, in a few words. */
  readonly title: string;
  readonly runs: readonly Run[];
}
