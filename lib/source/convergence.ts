/** What the migration thread does next, from how much is still to send: QEMU's rule, and ours of whole passes. Pure. */

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
export function needsSync({ pending, thresholdBytes, inPostcopy, postcopyAfterPasses }: Convergence): boolean {
  if (inPostcopy) return false; // the guest writes elsewhere now
  const bytes = pendingBytes(pending);
  if (postcopyAfterPasses !== undefined) return bytes === 0;
  return bytes < thresholdBytes || bytes === 0;
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
  if (bytes < thresholdBytes) return 'complete';
  return postcopyAsked && maySwitch ? 'start-postcopy' : 'iterate';
}
