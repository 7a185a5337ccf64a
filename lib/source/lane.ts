/**
 * A lane, as the source's threads share it: its socket, what its thread counts, and the lock which that holds while it
 * sends pages. There are as many as were asked for, whether or not the destination takes them.
 */
import { FairLock } from '../threads/fair-lock.js';
import { Signals } from '../threads/signals.js';
import { createSourceCounters } from './source-counters.js';

const laneNames = [
  /** Owner: the handle of its socket while it may be asked for pages, else 0. */
  'SOCKET',
] as const;

export type LaneWords = Signals<(typeof laneNames)[number]>;

export interface LaneDescriptor {
  readonly words: SharedArrayBuffer;
  readonly counters: SharedArrayBuffer;
  /** See `UrgentPagesData`. */
  readonly urgentLock: SharedArrayBuffer;
}

export function createLaneWords(buffer?: SharedArrayBuffer): LaneWords {
  return new Signals(laneNames, buffer);
}

export function createLane(): LaneDescriptor {
  return {
    words: createLaneWords().buffer,
    counters: createSourceCounters().buffer,
    urgentLock: new FairLock().buffer,
  };
}
