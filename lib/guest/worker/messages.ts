/**
 * What the owner of a worker guest and a vCPU's thread tell each other. Types only.
 *
 * A thread answers calls in the order they were made, and all that it has begun before it stops: so the owner knows by
 * counting which of them a stopped vCPU has not begun, and neither side numbers them.
 */
import type { PlainError } from '../../errors.js';
import type { RAMBlockDescriptor } from '../../memory/ram-block.js';

/** What a vCPU's thread begins with. */
export interface VcpuBoot {
  readonly index: number;
  readonly count: number;
  /** URL of the program's module. */
  readonly program: string;
  readonly data: unknown;
  readonly blocks: readonly RAMBlockDescriptor[];
  /** Of a {@link RunWord}. */
  readonly runWord: SharedArrayBuffer;
}

export type ToVcpu =
  /** To start from this state, as `v8.serialize` writes it. */
  | { readonly kind: 'load'; readonly state: Uint8Array }
  /** The first start. */
  | { readonly kind: 'run' }
  /** The run word asks it to stop: for one that waits. */
  | { readonly kind: 'stop' }
  /** `since` is the request that it stopped for last, as far as the owner knew; 0 before the first. */
  | { readonly kind: 'calls'; readonly since: number; readonly messages: readonly unknown[] };

export type FromVcpu =
  /** `state`: what is to be saved of it before its first start, if anything. */
  | {
      readonly kind: 'ready';
      readonly name: string;
      readonly version: number;
      readonly thread: number;
      readonly state: SavedState | undefined;
    }
  /** Its thread has taken memory for the block of that name, in place of one before. The owner closes both. */
  | { readonly kind: 'adopted'; readonly block: RAMBlockDescriptor }
  | { readonly kind: 'loaded' }
  | { readonly kind: 'refused'; readonly error: PlainError }
  /** The answers to the calls that are due, in order; `errors` names those of `values` that were thrown. */
  | {
      readonly kind: 'replies';
      readonly values: readonly unknown[];
      readonly errors: ReadonlyMap<number, PlainError>;
    }
  /** It stands still for that request, until the run word changes. */
  | { readonly kind: 'parked'; readonly request: number; readonly state: SavedState }
  /** Its program has returned. */
  | { readonly kind: 'halted' };

/** What a parked vCPU gave as its state, as `v8.serialize` writes it; or why that can't be. */
export type SavedState = { readonly bytes: Uint8Array } | { readonly error: PlainError };
