/**
 * Capabilities and parameters of a migration under their QMP names (camelCased), with defaults and
 * checks. One home for both sides; which of them this version acts on is what stands here.
 */
import { MigrationError } from './errors.js';

export interface Capabilities {
  /** Run first, pull later. Off by default, as in QEMU: both sides must ask for it. */
  readonly postcopyRam: boolean;
}

export interface Parameters {
  /** Bytes a second in precopy; 0 is no limit. QEMU's default of 128 MiB/s. */
  readonly maxBandwidth: number;
  /** Bytes a second of background pages in postcopy; 0 is no limit. Requested pages are never held back. */
  readonly maxPostcopyBandwidth: number;
  /** Milliseconds the guest may stand still at the end of a precopy; 0 to 2,000,000. */
  readonly downtimeLimit: number;
}

export const defaultCapabilities: Capabilities = { postcopyRam: false };

export const defaultParameters: Parameters = {
  maxBandwidth: 128 * 1024 * 1024,
  maxPostcopyBandwidth: 0,
  downtimeLimit: 300,
};

const parameterMaximum: Record<keyof Parameters, number> = {
  maxBandwidth: Number.MAX_SAFE_INTEGER,
  maxPostcopyBandwidth: Number.MAX_SAFE_INTEGER,
  downtimeLimit: 2_000_000,
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

/** The given parameters over the defaults. Throws BAD_ARGUMENT for an unknown name or a value out of range. */
export function resolveParameters(given: Partial<Parameters> = {}): Parameters {
  rejectUnknown(given, defaultParameters, 'parameter');
  const resolved = { ...defaultParameters, ...given };
  for (const name of Object.keys(defaultParameters) as (keyof Parameters)[]) {
    const value = resolved[name];
    if (!Number.isSafeInteger(value) || value < 0 || value > parameterMaximum[name]) {
      throw new MigrationError('BAD_ARGUMENT', `parameter ${name} is ${value}`, {
        hint: `give a whole number from 0 to ${parameterMaximum[name]}`,
      });
    }
  }
  return resolved;
}
