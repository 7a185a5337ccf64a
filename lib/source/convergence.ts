/**
 * What the migration thread does next, from how much is still to send: QEMU's rule, and two of ours. Whole passes may
 * be asked for; and the guest is not stopped for what may as well go while it runs, which is all that passes still
 * narrow down, even where it would fit into the downtime limit. Pure.
 */

/** Bytes still to send, as far as known, by when they may go. */
export interface Pending {
  /** Before the guest runs at the destination. */
  readonly mustPrecopyBytes: number;
  /** Before or after. */
  readonly canPostcopyBytes: number;
}

export interface Convergence {
  readonly pending: Pending;
  /** Bytes that can go within the downtime limit at the measured bandwidth; 0 while none was measured. */
  readonly thresholdBytes: number;
  /** The rest of this pass should go before the guest is stopped ({@link Narrowing}). */
  readonly narrows: boolean;
  readonly inPostcopy: boolean;
  /** In postcopy: the destination has not yet been told to run the guest. */
  readonly handingOver: boolean;
  /** The switch was asked for, and both sides can. */
  readonly postcopyAsked: boolean;
  /** Whole passes over RAM that are done. */
  readonly passes: number;
  /** Switch after so many whole passes, even where precopy could end by itself; undefined: only when asked. */
  readonly postcopyAfterPasses: number | undefined;
}

/** How much a sync may leave of what the one before left, for another pass to be worth it. */
const NARROWER = 1 / 2;
/** Milliseconds that a pass may take which only makes the downtime shorter. */
const NARROWING_MS = 1000;

/** Whether passes narrow down what is to be sent. As each leaves half at most, there are few in vain. */
export class Narrowing {
  #leftBytes = Number.POSITIVE_INFINITY;
  #isNarrower = true;

  /** A sync has left so much to send. */
  synced(leftBytes: number): void {
    this.#isNarrower = leftBytes <= this.#leftBytes * NARROWER;
    this.#leftBytes = leftBytes;
  }

  /** Whether the rest of this pass, so many bytes, should go before the guest is stopped. */
  isWorth(restBytes: number, bytesPerSecond: number): boolean {
    return this.#isNarrower && restBytes <= (bytesPerSecond * NARROWING_MS) / 1000;
  }
}

export type NextStep = 'iterate' | 'start-postcopy' | 'complete';

/** RAM can go after the switch if there can be one; device state always goes at once, and is not counted. */
export function ramPending(bytes: number, postcopyRam: boolean): Pending {
  return postcopyRam
    ? { mustPrecopyBytes: 0, canPostcopyBytes: bytes }
    : { mustPrecopyBytes: bytes, canPostcopyBytes: 0 };
}

export function pendingBytes({ mustPrecopyBytes, canPostcopyBytes }: Pending): number {
  return mustPrecopyBytes + canPostcopyBytes;
}

/** Whether the dirty bitmap should be brought up to date before {@link nextStep} is asked. */
export function needsSync(state: Convergence): boolean {
  if (state.inPostcopy) return false; // the guest writes elsewhere now
  return pendingBytes(state.pending) === 0 || (state.postcopyAfterPasses === undefined && mayEnd(state));
}

/** The rest fits into the downtime, and need not go before it: whoever asks for the switch wants it now. */
function mayEnd({ pending, thresholdBytes, narrows, postcopyAsked }: Convergence): boolean {
  return pendingBytes(pending) < thresholdBytes && (postcopyAsked || !narrows);
}

/** In postcopy the end is only when nothing is left: until then requested pages overtake the others. */
export function nextStep(state: Convergence): NextStep {
  const { pending, thresholdBytes, inPostcopy, handingOver, postcopyAsked, passes, postcopyAfterPasses } = state;
  const bytes = pendingBytes(pending);
  if (handingOver) return 'iterate';
  if (bytes === 0) return 'complete';
  if (inPostcopy) return 'iterate';
  const maySwitch = pending.mustPrecopyBytes <= thresholdBytes;
  if (postcopyAfterPasses !== undefined) {
    return passes >= postcopyAfterPasses && maySwitch ? 'start-postcopy' : 'iterate';
  }
  if (mayEnd(state)) return 'complete';
  return postcopyAsked && maySwitch ? 'start-postcopy' : 'iterate';
}
