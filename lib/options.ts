/**
 * Capabilities and parameters of a migration under their QMP names (camelCased), with defaults and
 * checks. One home for both sides; which of them this version acts on is what stands here.
 */
import { MigrationError } from './errors.js';

export interface Capabilities {
  /** Run first, pull later. Off by default, as in QEMU: both sides must ask for it. */
  readonly postcopyRam: boolean;
  /**
   * Source: hear from the destination in a precopy too how it ended; without, the end of the stream is the end. In
   * postcopy always.
   */
  readonly returnPath: boolean;
  /** Source: slow the guest down while precopy does not converge. */
  readonly autoConverge: boolean;
  /** Destination: account for how long each vCPU waits for pages in postcopy. */
  readonly postcopyBlocktime: boolean;
  /** Requested pages come on a connection of their own, never behind others. Both sides must ask for it. */
  readonly postcopyPreempt: boolean;
}

export interface Parameters {
  /** Bytes a second in precopy; 0 is no limit. QEMU's default of 128 MiB/s. */
  readonly maxBandwidth: number;
  /** Bytes a second of background pages in postcopy; 0 is no limit. Requested pages are never held back. */
  readonly maxPostcopyBandwidth: number;
  /** Milliseconds the guest may stand still at the end of a precopy; 0 to 2,000,000. */
  readonly downtimeLimit: number;
  /** Auto-converge begins when the guest dirties more than this percentage of what was sent; 1 to 100. */
  readonly throttleTriggerThreshold: number;
  /** Percentage of time that vCPUs are held back when it begins, and by which that is raised; 1 to 99. */
  readonly cpuThrottleInitial: number;
  readonly cpuThrottleIncrement: number;
  /** The most that vCPUs are held back; `cpuThrottleInitial` to 99. */
  readonly maxCpuThrottle: number;
}

/**
 * Which pages a destination asks for in postcopy, as a fault was for one. `none`: that page. `around`: those around it,
 * too, 64 KiB. `adaptive`: around it, or ahead of it where faults come in order, up to 2 MiB at once.
 */
export const prefetchPolicies = ['none', 'around', 'adaptive'] as const;

export type PrefetchPolicy = (typeof prefetchPolicies)[number];

/** The option prefetch, with its default. Throws BAD_ARGUMENT for one that there is not. */
export function resolvePrefetch(given: PrefetchPolicy = 'none'): PrefetchPolicy {
  if (prefetchPolicies.includes(given)) return given;
  throw new MigrationError('BAD_ARGUMENT', `prefetch is ${given}`, { hint: `give ${prefetchPolicies.join(', ')}` });
}

/** The option lanes, with its default; `most` of them, in postcopy. Throws BAD_ARGUMENT for others. */
export function resolveLanes(most: number, { postcopyRam }: Capabilities, given = 0): number {
  if (given > 0 && !postcopyRam) {
    throw new MigrationError('BAD_ARGUMENT', 'lanes without the capability postcopyRam', {
      hint: 'start both sides with capabilities: { postcopyRam: true }',
    });
  }
  if (Number.isSafeInteger(given) && given >= 0 && given <= most) return given;
  throw new MigrationError('BAD_ARGUMENT', `lanes is ${given}`, {
    hint: `give a whole number from 0, which is none, to ${most}`,
  });
}

export const defaultCapabilities: Capabilities = {
  postcopyRam: false,
  returnPath: false,
  autoConverge: false,
  postcopyBlocktime: false,
  postcopyPreempt: false,
};

/** Milliseconds that a guest may take for each thing that a migration asks of it. */
const GUEST_TIMEOUT_MS = 10_000;
/** Milliseconds for which the other side may give no sign of life. */
const PEER_TIMEOUT_MS = 30_000;
/** Milliseconds between two signs of life of a source in postcopy, at most. */
const SIGN_OF_LIFE_MS = 1000;
const SIGNS_PER_TIMEOUT = 3;
/** What a timer takes. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

function resolveTimeout(name: string, given: number): number {
  if (Number.isSafeInteger(given) && given >= 0 && given <= TIMEOUT_MS_MAX) return given;
  throw new MigrationError('BAD_ARGUMENT', `${name} is ${given}`, {
    hint: `give a whole number from 0, which is no limit, to ${TIMEOUT_MS_MAX}`,
  });
}

/** The option guestTimeoutMs, with its default. Throws BAD_ARGUMENT where it is out of range. */
export function resolveGuestTimeout(given = GUEST_TIMEOUT_MS): number {
  return resolveTimeout('guestTimeoutMs', given);
}

/** The option peerTimeoutMs, with its default. Throws BAD_ARGUMENT where it is out of range. */
export function resolvePeerTimeout(given = PEER_TIMEOUT_MS): number {
  return resolveTimeout('peerTimeoutMs', given);
}

/** How often a source in postcopy gives a sign of life, with that option: the destination of ours waits for them. */
export function signOfLifeMs(peerTimeoutMs: number): number {
  return peerTimeoutMs === 0 ? SIGN_OF_LIFE_MS : Math.min(SIGN_OF_LIFE_MS, peerTimeoutMs / SIGNS_PER_TIMEOUT);
}

/** Whether the source opens a return path. */
export function opensReturnPath({ postcopyRam, returnPath }: Capabilities): boolean {
  return postcopyRam || returnPath;
}

export const defaultParameters: Parameters = {
  maxBandwidth: 128 * 1024 * 1024,
  maxPostcopyBandwidth: 0,
  downtimeLimit: 300,
  throttleTriggerThreshold: 50,
  cpuThrottleInitial: 20,
  cpuThrottleIncrement: 10,
  maxCpuThrottle: 99,
};

/** What each parameter may be; beside that, `maxCpuThrottle` is not below `cpuThrottleInitial`. */
export const parameterRange: Readonly<Record<keyof Parameters, readonly [least: number, most: number]>> = {
  maxBandwidth: [0, Number.MAX_SAFE_INTEGER],
  maxPostcopyBandwidth: [0, Number.MAX_SAFE_INTEGER],
  downtimeLimit: [0, 2_000_000],
  throttleTriggerThreshold: [1, 100],
  cpuThrottleInitial: [1, 99],
  cpuThrottleIncrement: [1, 99],
  maxCpuThrottle: [1, 99],
};

function rejectUnknown(given: object, known: object, what: string): void {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(known, name));
  if (unknown !== undefined) {
    throw new MigrationError('BAD_ARGUMENT', `unknown ${what} "${unknown}"`, {
      hint: `this version knows ${Object.keys(known).join(', ')}`,
    });
  }
}

/** The given capabilities over the defaults. Throws BAD_ARGUMENT for a name this version does not know. */
export function resolveCapabilities(given: Partial<Capabilities> = {}): Capabilities {
  rejectUnknown(given, defaultCapabilities, 'capability');
  const resolved = { ...defaultCapabilities, ...given };
  for (const [name, value] of Object.entries(resolved)) {
    if (typeof value !== 'boolean') {
      throw new MigrationError('BAD_ARGUMENT', `capability ${name} is ${value}`, { hint: 'give true or false' });
    }
  }
  return resolved;
}

/**
 * The given parameters over `before`, which are the defaults. Throws BAD_ARGUMENT for an unknown name or a value out
 * of range.
 */
export function resolveParameters(given: Partial<Parameters> = {}, before = defaultParameters): Parameters {
  rejectUnknown(given, defaultParameters, 'parameter');
  const resolved = { ...before, ...given };
  for (const name of Object.keys(defaultParameters) as (keyof Parameters)[]) {
    const value = resolved[name];
    const [least, most] = parameterRange[name];
    if (!Number.isSafeInteger(value) || value < least || value > most) {
      throw new MigrationError('BAD_ARGUMENT', `parameter ${name} is ${value}`, {
        hint: `give a whole number from ${least} to ${most}`,
      });
    }
  }
  const { cpuThrottleInitial, maxCpuThrottle } = resolved;
  if (maxCpuThrottle < cpuThrottleInitial) {
    throw new MigrationError(
      'BAD_ARGUMENT',
      `parameter maxCpuThrottle is ${maxCpuThrottle}, below cpuThrottleInitial`,
      { hint: `give a whole number from ${cpuThrottleInitial} to 99` },
    );
  }
  return resolved;
}
