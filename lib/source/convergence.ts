/**
 * What the migration thread does next, from how much is still to send. Pure.
 *
 * RAM is all that iterates here and all of it can go in postcopy, so the part of pending that must
 * go in precopy is nil; QEMU's rule (semantics S8) then reads as below.
 */
export interface Convergence {
  /** Bytes still to send, as far as known. */
  readonly pendingBytes: number;
  /** Bytes that can go within the downtime limit at the measured bandwidth; 0 while none was measured. */
  readonly thresholdBytes: number;
  readonly inPostcopy: boolean;
  /** The switch was asked for, and both sides can. */
  readonly postcopyAsked: boolean;
  /** Whole passes over RAM that are done. */
  readonly passes: number;
  /** Switch after so many whole passes, even where precopy could end by itself; undefined: only when asked. */
  readonly postcopyAfterPasses: number | undefined;
}

export type NextStep = 'iterate' | 'start-postcopy' | 'complete';

/** Whether the dirty bitmap should be brought up to date before {@link nextStep} is asked. */
export function needsSync(state: Convergence): boolean {
  if (state.inPostcopy) return false; // the guest writes elsewhere now
  if (state.postcopyAfterPasses !== undefined) return state.pendingBytes === 0;
  return state.pendingBytes < state.thresholdBytes || state.pendingBytes === 0;
}

export function nextStep(state: Convergence): NextStep {
  const { pendingBytes, thresholdBytes, inPostcopy, postcopyAsked, passes, postcopyAfterPasses } = state;
  if (pendingBytes === 0) return 'complete';
  if (inPostcopy) return 'iterate';
  if (postcopyAfterPasses !== undefined) return passes >= postcopyAfterPasses ? 'start-postcopy' : 'iterate';
  if (pendingBytes < thresholdBytes) return 'complete';
  return postcopyAsked ? 'start-postcopy' : 'iterate';
}
