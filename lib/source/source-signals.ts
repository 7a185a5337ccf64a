/** The words the source's threads and their owner share: who writes each, and what its values mean. */
import { Signals } from '../threads/signals.js';

export const sourceSignalNames = [
  /** Owner: 1 once the switch to postcopy is asked for. */
  'START_POSTCOPY',
  /** Return path thread and owner: bumped when the migration thread should look up from a rest. */
  'ATTENTION',
  /** Return path thread: a value of {@link ReturnPathPhase}. */
  'RETURN_PATH',
  /** Return path thread: the value of the last PONG, of those below Ping.PLACED. */
  'PONG',
  /**
   * Return path thread: the value of the last PONG from Ping.PLACED up. Of its own, as two threads of the
   * destination answer pings, and the pong of one may overtake that of the other.
   */
  'PONG_PLACED',
  /** Return path thread: 1 once the destination has said that it understands runs of pages. */
  'RUNS',
  /**
   * Return path thread: 1 once the ping in the package was answered: a destination of ours has the guest run then, a
   * QEMU has its devices loaded.
   */
  'LOADED',
  /** Migration thread: 1 from when the destination may have all it needs to run the guest. */
  'HANDED_OVER',
  /** Return path thread: bumped at each message, which is a sign of life of the destination. */
  'HEARD',
  /** Return path thread, lane threads: bumped at each request that one answers itself, over its demand channel. */
  'ASKED',
  /** Return path thread: how many lanes the destination takes. */
  'LANES',
  /** Owner: how many lanes there are; {@link NO_LANES} where they could not be made. */
  'LANES_OPEN',
  /** Owner: the handle of the preempt channel's socket; 0 where there is none. */
  'PREEMPT',
  /** Migration thread: 1 while a destination that lives is heard all the time, as it is pinged or asked. */
  'SIGNS_DUE',
  /** Migration thread: 1 once the destination is known to have every page. */
  'ALL_PLACED',
  /** Return path thread of a recovery: how many received bitmaps have come. */
  'BITMAPS',
  /** A value of {@link Resume}: migration thread, then the return path thread of a recovery. */
  'RESUME',
] as const;

/** Where the return path stands; `REFUSED`: the destination said that it has failed. */
export const ReturnPathPhase = { NONE: 0, OPEN: 1, CLOSED: 2, BROKEN: 3, REFUSED: 4 } as const;

/** Of LANES_OPEN: the migration goes on without. */
export const NO_LANES = -1;

/** Of a recovery: whether the destination was told to resume, and has said that it does. */
export const Resume = { NOT_YET: 0, SENT: 1, ACKNOWLEDGED: 2 } as const;

export type SourceSignals = Signals<(typeof sourceSignalNames)[number]>;

export function createSourceSignals(buffer?: SharedArrayBuffer): SourceSignals {
  return new Signals(sourceSignalNames, buffer);
}
