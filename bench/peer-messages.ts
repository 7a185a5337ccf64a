/** What a bench says to a process of ours, and hears from it: commands with one reply each, by IPC. */
import type { FaultInfo } from '#lib/destination/incoming-info.js';
import type { StressGuestSettings } from '#lib/guest/stress-guest.js';
import type { MemoryKind } from '#lib/memory/ram-block.js';
import type { PrefetchPolicy } from '#lib/options.js';
import type { Mode } from './benchmark.ts';
import type { ResidentMemory } from './resident-memory.ts';

export interface ListenSettings {
  readonly mode: Mode;
  readonly preempt?: boolean;
  /** At both sides. */
  readonly lanes?: number;
  readonly prefetch?: PrefetchPolicy;
  /** What a QEMU's guest is kept in; anonymous memory when absent. */
  readonly kind?: MemoryKind;
  /** A guest of ours is to come, with so many bytes of RAM. Absent: a QEMU's. */
  readonly memory?: number;
}

export interface SendSettings {
  readonly mode: Mode;
  readonly preempt?: boolean;
  readonly lanes?: number;
  /** The guest runs until then, and postcopy is begun by asking for it, as a user does. */
  readonly running?: boolean;
  /** Bytes a second of what nobody has asked for, in postcopy; no limit when absent. */
  readonly backgroundBytesPerSecond?: number;
}

/** Of a guest of ours. */
export type GuestSettings = Pick<StressGuestSettings, 'memory' | 'filledShare' | 'workingSetShare' | 'writesPerSecond'>;

export type PeerCommand =
  /** Listen at `uri` and keep what comes. */
  | { readonly do: 'listen'; readonly uri: string; readonly settings: ListenSettings }
  /** Wait until the guest that was listened for has been handed over: its pages may be touched. */
  | { readonly do: 'await-handed-over'; readonly idstr: string }
  /** Wait until what was listened for has completed. */
  | { readonly do: 'await-received' }
  /** Be ready to send, as a host that expects to. */
  | { readonly do: 'prepare' }
  /** Send what is kept. */
  | { readonly do: 'send'; readonly uri: string; readonly settings: SendSettings }
  /** Send what is kept by postcopy, until the destination has gone. */
  | { readonly do: 'send-until-lost'; readonly uri: string; readonly preempt: boolean }
  /** Make a guest of ours to send. */
  | { readonly do: 'make-guest'; readonly guest: GuestSettings }
  /** Stop a guest of ours that has come, and check it. */
  | { readonly do: 'verify' }
  /** Tell how much memory this process has, without the guest's. */
  | { readonly do: 'memory' }
  /** Tell what a kept block holds. */
  | { readonly do: 'hash'; readonly idstr: string }
  /** Tell where others can open a kept block that is a memfd. */
  | { readonly do: 'file'; readonly idstr: string }
  /** Hold a kept block against a file. */
  | { readonly do: 'compare'; readonly idstr: string; readonly path: string };

/** What has come of a receive. */
export interface Received {
  readonly faults: FaultInfo;
  /** When the guest was started here, in milliseconds since 1970. */
  readonly startedMs: number;
  /** When one of ours that was started wrote for the first time. */
  readonly firstWriteMs?: number;
}

export interface Sent {
  readonly totalMs: number;
  readonly downtimeMs: number;
  /** Requests for pages that came from the destination. */
  readonly requests: number;
  /** Moments, in milliseconds since 1970: when postcopy was asked for, and when the guest had stopped. */
  readonly postcopyAskedMs: number;
  readonly stoppedMs: number;
}

export interface PeerReplies {
  readonly listen: { readonly uri: string };
  /** Where the block is mapped in this process. */
  readonly 'await-handed-over': { readonly address: number };
  readonly 'await-received': Received;
  readonly prepare: Readonly<Record<string, never>>;
  readonly send: Sent;
  readonly 'send-until-lost': Readonly<Record<string, never>>;
  readonly 'make-guest': Readonly<Record<string, never>>;
  readonly verify: { readonly badPages: number };
  readonly memory: ResidentMemory;
  readonly hash: { readonly sha256: string };
  readonly file: { readonly path: string };
  /** Where they begin to differ; -1 where they don't. */
  readonly compare: { readonly difference: number };
}

export type PeerReply = { readonly reply: PeerReplies[keyof PeerReplies] } | { readonly error: string };
