/** What a bench says to a process of ours, and hears from it: commands with one reply each, by IPC. */
import type { Mode } from './benchmark.ts';

export type PeerCommand =
  /** Listen at `uri` and keep what comes. `reads`: touch every page in order once the guest has been handed over. */
  | { readonly do: 'listen'; readonly uri: string; readonly mode: Mode; readonly reads: boolean }
  /** Wait until what was listened for has completed. */
  | { readonly do: 'await-received' }
  /** Send what is kept. */
  | { readonly do: 'send'; readonly uri: string; readonly mode: Mode }
  /** Send what is kept by postcopy, until the destination has gone. */
  | { readonly do: 'send-until-lost'; readonly uri: string; readonly preempt: boolean }
  /** Hold a kept block against a file. */
  | { readonly do: 'compare'; readonly idstr: string; readonly path: string };

/** What has come of a receive; times in milliseconds, 0 where there was none. */
export interface Received {
  /** From the reader's start to its first page, and to its last. */
  readonly firstReadMs: number;
  readonly allReadMs: number;
  readonly requests: number;
}

export interface Sent {
  readonly totalMs: number;
  readonly downtimeMs: number;
}

export interface PeerReplies {
  readonly listen: { readonly uri: string };
  readonly 'await-received': Received;
  readonly send: Sent;
  readonly 'send-until-lost': Readonly<Record<string, never>>;
  /** Where they begin to differ; -1 where they don't. */
  readonly compare: { readonly difference: number };
}

export type PeerReply = { readonly reply: PeerReplies[keyof PeerReplies] } | { readonly error: string };
