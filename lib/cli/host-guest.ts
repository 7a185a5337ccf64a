/** What `postcopy host` holds, or has room for: a guest of ours, or the machine of a QEMU. */
import type { GuestOrFactory, IncomingMigration } from '../destination/incoming.js';
import { MigrationError } from '../errors.js';
import { ParkedMachine } from '../machine/parked-machine.js';
import type { Guest } from '../memory/guest.js';
import type { StressGuestStats } from '../native.js';
import { demoGuests } from './demo-guest.js';
import { chosenGuest, type GuestOptions, guestSettings } from './guest-options.js';
import { HostMachine } from './host-machine.js';
import { createLiveLine } from './live-line.js';
import { openMachine } from './open-machine.js';

export interface HostGuestOptions extends GuestOptions {
  /** True where there is no directory. */
  readonly machine?: string | true;
  readonly incoming?: string;
}

export interface HostGuest {
  /** As in "host of …". */
  readonly title: string;
  readonly holds: { readonly guest: Guest } | { readonly room: GuestOrFactory };
  /** Whether it is to run from the begin. */
  readonly runs: boolean;
  /** Of a guest that counts what it writes. */
  readonly figures?: () => StressGuestStats;
  /** Told of each migration to here. */
  attend?(incoming: IncomingMigration): void;
  /** When all migrations have ended. */
  close?(): Promise<void>;
}

/** Rejects where there can be no such guest here, or no such machine. */
export async function hostGuest(
  options: HostGuestOptions,
  tell: (text: string) => void,
  signal: AbortSignal,
): Promise<HostGuest> {
  if (options.machine === undefined) return ownGuest(options);
  return options.incoming === undefined ? heldMachine(options.machine, signal) : comingMachine(options.machine, tell);
}

async function ownGuest(options: HostGuestOptions): Promise<HostGuest> {
  const name = chosenGuest(options);
  const { create, empty } = demoGuests[name];
  const isRoom = options.incoming !== undefined;
  const guest = await (isRoom ? empty : create)(guestSettings(options));
  return {
    title: `a ${name} guest`,
    holds: isRoom ? { room: guest } : { guest },
    runs: !isRoom,
    figures: () => guest.stats,
  };
}

async function heldMachine(directory: string | true, signal: AbortSignal): Promise<HostGuest> {
  if (directory === true) {
    throw new MigrationError('BAD_ARGUMENT', '--machine without a directory holds nothing', {
      hint: 'name the directory that the machine is kept in, or wait for one with --incoming',
    });
  }
  const line = await createLiveLine();
  try {
    const saved = await openMachine(directory, line, { signal });
    return { title: `the machine in ${directory}`, holds: { guest: new ParkedMachine(saved) }, runs: false };
  } finally {
    line.end();
  }
}

async function comingMachine(directory: string | true, tell: (text: string) => void): Promise<HostGuest> {
  const room = await HostMachine.create(directory === true ? undefined : directory, tell);
  return {
    title: 'a machine',
    holds: { room },
    runs: false,
    attend: (incoming) => room.attend(incoming),
    close: () => room.close(),
  };
}
