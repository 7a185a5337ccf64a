/** Whether this host can run a KVM machine of ours, and if not, how to allow it. Changes nothing on the host. */
import { gatherFacts } from '../doctor/facts.js';
import { kvmLacks, kvmProblem } from '../doctor/kvm-problem.js';
import type { Problem } from '../doctor/problem.js';
import { type NativeError, native } from '../native.js';

export interface KvmProbe {
  readonly available: boolean;
  /** Null where /dev/kvm does not open. */
  readonly apiVersion: number | null;
  /** Absent where it is available. */
  readonly problem?: Problem;
}

/** The only version of the interface that there has been since 2007. */
const API_VERSION = 12;

/** Looks for /dev/kvm and for what a machine of ours needs of it. Throws ADDON_MISSING only. */
export function probeKvm(): KvmProbe {
  const { kvmApiVersion, kvmMissing } = native();
  let apiVersion: number | null = null;
  try {
    apiVersion = kvmApiVersion();
    const missing = kvmMissing();
    if (apiVersion === API_VERSION && missing.length === 0) return { available: true, apiVersion };
    return { available: false, apiVersion, problem: kvmLacks(apiVersion, missing, API_VERSION) };
  } catch (error) {
    const { code = 'unknown' } = error as NativeError;
    return { available: false, apiVersion, problem: kvmProblem(code, gatherFacts()) };
  }
}
