/** What a bench says to a process of ours, and hears from it: commands with one reply each, by IPC. */
import type { Mode } from './benchmark.ts';

export type PeerCommand =
  /** Listen at `uri` and keep what comes. `reads`: touch every page in order once the guest has been handed over. */
  | { readonly do: 'listen'; readonly uri: string; readonly mode: Mode; readonly reads: boolean }
  /** Wait until what was listened for has completed. */
  | { readonly do: 'await-received' }
  /** Send what is kept. `running`: it runs until then, and postcopy is begun by asking for it, as a user does. */
  | { readonly do: 'send'; readonly uri: string; readonly mode: Mode; readonly running: boolean }
  /** Send what is kept by postcopy, until the destination has gone. */
  | { readonly do: 'send-until-lost'; readonly uri: string; readonly preempt: boolean }
  /** Tell what a kept block holds. */
  | { readonly do: 'hash'; readonly idstr: string }
  /** Hold a kept block against a file. */
  | { readonly do: 'compare'; readonly idstr: string; readonly path: string };

/** What has come of a receive; times in milliseconds, 0 where there was none. */
export interface Received {
  /** From the reader's start to its first page, and to its last. */
  readonly firstReadMs: number;
  readonly allReadMs: number;
  readonly requests: number;
  /** When the guest was started here, in milliseconds since 1970. */
  readonly startedMs: number;
}

export interface Sent {
  readonly totalMs: number;
  readonly downtimeMs: number;
  /** Moments, in milliseconds since 1970: when postcopy was asked for, and when the guest had stopped. */
  readonly postcopyAskedMs: number;
  readonly stoppedMs: number;
}

export interface PeerReplies {
  readonly listen: { readonly uri: string };
  readonly 'await-received': Received;
  readonly send: Sent;
  readonly 'send-until-lost': Readonly<Record<string, never>>;
  readonly hash: { readonly sha256: string };
  /** Where they begin to differ; -1 where they don't. */
  readonly compare: { readonly difference: number };
}

export type PeerReply = { readonly reply: PeerReplies[keyof PeerReplies] } | { readonly error: string };
