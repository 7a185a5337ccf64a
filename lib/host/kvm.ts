/** Whether this host can run a KVM machine of ours, and if not, how to allow it. Changes nothing on the host. */
import { type NativeError, native } from '../native.js';

export interface Problem {
  readonly what: string;
  readonly fix: string;
}

export interface KvmProbe {
  readonly available: boolean;
  /** Null where /dev/kvm does not open. */
  readonly apiVersion: number | null;
  /** Absent where it is available. */
  readonly problem?: Problem;
}

/** What to do, by the errno of opening /dev/kvm. */
const problems: Readonly<Record<string, Problem>> = {
  ENOENT: {
    what: 'there is no /dev/kvm',
    fix: 'load the kvm module, or switch on (nested) virtualisation; --guest stress needs none',
  },
  EACCES: {
    what: 'this user may not open /dev/kvm',
    fix: 'add the user to the group kvm; --guest stress needs no KVM',
  },
  EPERM: {
    what: '/dev/kvm is not allowed here',
    fix: 'in a container, pass --device /dev/kvm; --guest stress needs no KVM',
  },
  ENOTSUP: {
    what: `a KVM guest is a machine of x86-64, and this host is ${process.arch}`,
    fix: 'use an x86-64 host, or --guest stress',
  },
};

/** The only version of the interface that there has been since 2007. */
const API_VERSION = 12;

function problemOf(error: unknown): Problem {
  const code = (error as NativeError).code ?? 'unknown';
  return problems[code] ?? { what: `/dev/kvm does not open (${code})`, fix: 'use --guest stress' };
}

/** Looks for /dev/kvm and for what a machine of ours needs of it. Throws ADDON_MISSING only. */
export function probeKvm(): KvmProbe {
  const { kvmApiVersion, kvmMissing } = native();
  let apiVersion: number | null = null;
  try {
    apiVersion = kvmApiVersion();
    const missing = kvmMissing();
    if (apiVersion === API_VERSION && missing.length === 0) return { available: true, apiVersion };
    const what = `this KVM, of API version ${apiVersion}, lacks ${missing.join(', ') || `version ${API_VERSION}`}`;
    return { available: false, apiVersion, problem: { what, fix: 'use a newer kernel, or --guest stress' } };
  } catch (error) {
    return { available: false, apiVersion, problem: problemOf(error) };
  }
}
