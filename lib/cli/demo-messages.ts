/** What the demo's three processes say to each other over Node's IPC: parent, source, destination. Types only. */

import type { SideSnapshot } from '../dashboard/snapshot.js';
import type { IncomingInfo } from '../destination/incoming-info.js';
import type { PlainError } from '../errors.js';
import type { LogLevel } from '../logs/log.js';
import type { MemoryKind } from '../memory/ram-block.js';
import type { LatencyCounts } from '../metrics/latency-histogram.js';
import type { StressGuestStats, StressGuestVerdict } from '../native.js';
import type { PrefetchPolicy } from '../options.js';
import type { Forecast } from '../source/forecast.js';
import type { MigrationStatus } from '../source/migration-state.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import type { Recoveries } from './auto-recovery.js';
import type { DemoGuestName } from './demo-guest.js';

/** What the parent starts a side with, as its one argument. */
export interface DemoSettings {
  readonly guest: DemoGuestName;
  readonly memory: number;
  readonly kind: MemoryKind;
  /** RAM blocks that it is split over. */
  readonly blocks: number;
  readonly vcpus: number;
  readonly writesPerSecond: number;
  readonly workingSetShare: number;
  readonly precopyPasses: number;
  /** Bytes a second; 0 is no limit. */
  readonly maxBandwidth: number;
  readonly maxPostcopyBandwidth: number;
  /** Milliseconds. */
  readonly downtimeLimit: number;
  readonly autoConverge: boolean;
  readonly transport: 'unix' | 'tcp';
  /** Where the destination is to listen. */
  readonly uri: string;
  readonly postcopyPreempt: boolean;
  readonly prefetch: PrefetchPolicy;
  readonly lanes: number;
  /** Milliseconds that a pause of the postcopy may last; 0: none is waited for. */
  readonly recoverForMs: number;
  /** Milliseconds of silence after which the other side is lost. */
  readonly peerTimeoutMs: number;
  /** Whether the destination tells how many of its faults took how long. */
  readonly countsLatency: boolean;
  /** Whether its last word is to have a look at it, for a dashboard or a report. */
  readonly watched: boolean;
  /** Where this side records its trace points; null: nowhere. */
  readonly recording: string | null;
}

/** Parent to both sides. */
export type ToSide =
  /** To the source: the destination listens at this URI. */
  | { readonly kind: 'migrate'; readonly uri: string }
  /** What is to be seen of it now? Answered with a `look`. */
  | { readonly kind: 'look'; readonly map: boolean }
  /** The user wants it to end. */
  | { readonly kind: 'cancel' };

/** How far one side is. */
export type SideProgress =
  | {
      readonly side: 'source';
      readonly info: OutgoingInfo;
      readonly guest: StressGuestStats;
      readonly passes: number;
      readonly recoveries: Recoveries;
      /** Of the precopy; null where there is none, or not yet. */
      readonly forecast: Forecast | null;
    }
  | {
      readonly side: 'destination';
      readonly info: IncomingInfo;
      readonly guest: StressGuestStats | undefined;
      readonly latency?: LatencyCounts;
    };

/** How one side ended well. */
export type SideDone =
  | {
      readonly side: 'source';
      readonly info: OutgoingInfo;
      readonly guest: StressGuestStats;
      /** Bytes of RAM, each block rounded up to whole pages. */
      readonly memory: number;
      /** The most that auto-converge held the guest back. */
      readonly throttledPercent: number;
      readonly recoveries: Recoveries;
      /** The last of the precopy. */
      readonly forecast: Forecast | null;
    }
  | {
      readonly side: 'destination';
      readonly info: IncomingInfo;
      /** At its stop, after it had run on for a while with all pages there. */
      readonly guest: StressGuestStats;
      readonly blocks: number;
      readonly verdict: StressGuestVerdict;
    };

/** One side to the parent. */
export type FromSide =
  /** The source's guest is filled and runs; the destination listens at `uri`. */
  | { readonly kind: 'ready'; readonly uri: string }
  | { readonly kind: 'progress'; readonly progress: SideProgress }
  /** The source's migration has come to this status. */
  | { readonly kind: 'status'; readonly status: MigrationStatus }
  /** What it does now, where that takes a while. */
  | { readonly kind: 'doing'; readonly what: string }
  /** Something happened. */
  | { readonly kind: 'event'; readonly text: string; readonly level: LogLevel }
  /** Asked for, or of its own the last one. Null before there is anything to see. */
  | { readonly kind: 'look'; readonly snapshot: SideSnapshot | null }
  | { readonly kind: 'done'; readonly done: SideDone }
  | { readonly kind: 'failed'; readonly error: PlainError };
