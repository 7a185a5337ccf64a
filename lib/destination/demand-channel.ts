/**
 * A demand channel: a connection that brings pages which were asked for, and no others. It is the preempt channel,
 * where the requests go over the return path, or one of several lanes between two of our own, over which they go, too.
 * Each has a demand thread that reads it, and these words between that, the listen thread and the fault thread.
 */
import { Signals } from '../threads/signals.js';

export const demandChannelNames = [
  /** Listen thread and demand thread: a value of {@link DemandPhase}. */
  'PHASE',
  /** Main thread, before it is read: a value of {@link DemandKind}. */
  'KIND',
  /** Before PHASE: the handle of the listener that the connection comes to. */
  'AT',
  /** Main thread or demand thread: the handle of its socket; 0 until it has come. */
  'SOCKET',
  /** Demand thread: 1 once the source has greeted on a lane, which may be asked for pages then. */
  'GREETED',
] as const;

/** Whether the demand thread takes in pages: it is told to read and to stop, and says when it has. */
export const DemandPhase = { IDLE: 0, READING: 1, STOPPING: 2, ENDED: 3 } as const;
export const DemandKind = { PREEMPT: 0, LANE: 1 } as const;

export type DemandChannelWords = Signals<(typeof demandChannelNames)[number]>;

export function createDemandChannelWords(buffer?: SharedArrayBuffer): DemandChannelWords {
  return new Signals(demandChannelNames, buffer);
}
