/** The words the destination's threads and their owner share: who writes each, and what its values mean. */
import { Signals } from '../threads/signals.js';

export const destinationSignalNames = [
  /** Main thread: the number of the postcopy state; the listen thread writes the last one. */
  'STATE',
  /** Main thread, or the owner where it never comes to that: a value of {@link Handed}: to the fault thread. */
  'PREPARED',
  /** Main thread, or the owner where it never comes to that: a value of {@link Handed}: to the listen thread. */
  'LISTEN',
  /** Main thread, before PREPARED: the userfaultfd's handle. */
  'USERFAULTFD',
  /** Fault thread: a value of {@link FaultThreadPhase}. */
  'FAULT_THREAD',
  /** Fault thread: bumped when it has read events, so that the mapping is not "changing" any more. */
  'EVENTS_READ',
  /** Owner: 1 once every thread is to end, whatever it waits for. */
  'RELEASED',
  /** Listen thread: 1 once it reads the stream no more. */
  'STREAM_LEFT',
  /** Main thread and listen thread: 1 once one of them tells the source that this side has failed. */
  'LAST_WORD',
  /** Main thread and owner: a value of {@link Package}. */
  'PACKAGE',
  /** Main thread, and the listen thread where the connection is lost: a value of {@link Handover}. */
  'HANDOVER',
  /** Listen thread: whether the source has let go of the guest for good; the owner where that need not matter. */
  'LET_GO',
  /** Owner: a value of {@link GuestPhase}. */
  'GUEST',
  /** Main thread; whoever lets go of the memory: a value of {@link Memory}. */
  'MEMORY',
  /** Main thread, then listen thread: the handle of the connection to the source, 0 while it is down. */
  'SOCKET',
  /** Listen thread: how many connections have followed the first one. */
  'RECOVERIES',
  /** Main thread: how many lanes were agreed on with the source; 0 is none. */
  'LANES',
  /** Owner: the handle of the listener at which a source may recover; 0: of none; {@link RECOVER_NEVER}. */
  'RECOVER_AT',
  /** Owner: 1 once the listen thread is to end, and to tell the source before. */
  'ENDING',
] as const;

/** Of PREPARED, LISTEN and LET_GO: whether it has come to that, or never will. */
export const Handed = { NOT_YET: 0, YES: 1, NEVER: 2 } as const;
export const FaultThreadPhase = { PARKED: 0, SERVING: 1, ENDED: 2 } as const;
/** What has been done to the guest's memory, and must be undone (prepare-memory.ts). */
export const Memory = { PLAIN: 0, PREPARED: 1, INHIBITED: 2 } as const;
/**
 * Whose the guest is. `UNKNOWN` until the package is read; `ASKED`: the source lets go of it when it has this side's
 * pledge, and runs it on where it does not get that; `PLEDGING`: that is being sent; `GIVEN`: it is this side's,
 * pledged or handed over without; `REFUSED`: the connection was lost before, and it is the source's.
 */
export const Handover = { UNKNOWN: 0, ASKED: 1, PLEDGING: 2, GIVEN: 3, REFUSED: 4 } as const;
/**
 * How far the guest is here. `ASKED`: to start, and it has not answered, so it may run or come to it; `HERE`: it was
 * taken over, and started if it ran; `DIED`: before that.
 */
export const GuestPhase = { STOPPED: 0, ASKED: 1, HERE: 2, DIED: 3 } as const;
/** Of RECOVER_AT: there will be no recovery. */
export const RECOVER_NEVER = -1;
/** Whether the package with the device state has been dealt with and the guest may run. */
export const Package = { PENDING: 0, DONE: 1, FAILED: 2 } as const;

export type DestinationSignals = Signals<(typeof destinationSignalNames)[number]>;

export function createDestinationSignals(buffer?: SharedArrayBuffer): DestinationSignals {
  return new Signals(destinationSignalNames, buffer);
}
