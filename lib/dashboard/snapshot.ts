/** One side of a migration at a moment, as JSON carries it to whoever shows it. Types, and what they are counted by. */
import type { LatencyStage } from '../destination/fault-latency.js';
import type { IncomingInfo } from '../destination/incoming-info.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import type { BlockMap } from './page-map.js';

/** Bounds of what fault latencies are counted by, in µs: six a decade, from 5 µs to 10 s. */
export const latencyBoundsUs: readonly number[] = Array.from({ length: 39 }, (_, index) => {
  const steps = [1, 1.5, 2, 3, 5, 7];
  const step = index + 4;
  return steps[step % 6] * 10 ** Math.floor(step / 6);
});

/** Something that happened; milliseconds since the epoch. */
export interface SideEvent {
  readonly atMs: number;
  readonly kind: 'status' | 'ping' | 'pong' | 'pass' | 'throttle' | 'warning' | 'error';
  /** The status, the ping's value, how many passes are done, the percentage, or the text. */
  readonly value: string | number;
}

/** The guest's own figures, where it has any. */
export interface GuestFigures {
  /** Pages that it wrote in this process. */
  readonly writesHere: number;
}

interface CommonSnapshot {
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  readonly guest: GuestFigures | null;
  /** Since the last look at this side. */
  readonly events: readonly SideEvent[];
  /** Null where nobody wants it, or it is not known yet. */
  readonly map: readonly BlockMap[] | null;
}

export interface SourceSnapshot extends CommonSnapshot {
  readonly side: 'source';
  readonly info: OutgoingInfo;
}

export interface DestinationSnapshot extends CommonSnapshot {
  readonly side: 'destination';
  readonly info: IncomingInfo;
  /** Faults by {@link latencyBoundsUs}; the last number is those above all bounds. */
  readonly latency: Readonly<Record<LatencyStage, readonly number[]>>;
}

export type SideSnapshot = SourceSnapshot | DestinationSnapshot;

export type SideName = SideSnapshot['side'];
