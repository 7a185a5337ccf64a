/** What `postcopy host` holds, or has room for: a guest of ours, or the machine of a QEMU. */
import type { GuestOrFactory, IncomingMigration } from '../destination/incoming.js';
import { MigrationError } from '../errors.js';
import { ParkedMachine } from '../machine/parked-machine.js';
import type { Guest } from '../memory/guest.js';
import type { StressGuestStats } from '../native.js';
import { demoGuests } from './demo-guest.js';
import { chosenGuest, type GuestOptions, guestSettings } from './guest-options.js';
import { HostMachine } from './host-machine.js';
import type { LiveLine } from './live-line.js';
import { openMachine } from './open-machine.js';
import { waitText } from './progress-text.js';

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

/** What takes a while is told by `line`. Rejects where there can be no such guest here, or no such machine. */
export async function hostGuest(options: HostGuestOptions, line: LiveLine, signal: AbortSignal): Promise<HostGuest> {
  try {
    if (options.machine === undefined) return await ownGuest(options, line);
    if (options.incoming === undefined) return await heldMachine(options.machine, line, signal);
    return await comingMachine(options.machine, line.event);
  } finally {
    line.end();
  }
}

async function ownGuest(options: HostGuestOptions, line: LiveLine): Promise<HostGuest> {
  const name = chosenGuest(options, line.event);
  const { create, empty } = demoGuests[name];
  const isRoom = options.incoming !== undefined;
  const began = performance.now();
  const mark = isRoom ? 'making room for the guest' : 'making the guest';
  line.follow(() => ({ text: waitText(mark, performance.now() - began), mark }));
  const guest = await (isRoom ? empty : create)(guestSettings(options));
  return {
    title: `a ${name} guest`,
    holds: isRoom ? { room: guest } : { guest },
    runs: !isRoom,
    figures: () => guest.stats,
  };
}

async function heldMachine(directory: string | true, line: LiveLine, signal: AbortSignal): Promise<HostGuest> {
  if (directory === true) {
    throw new MigrationError('BAD_ARGUMENT', '--machine without a directory holds nothing', {
      hint: 'name the directory that the machine is kept in, or wait for one with --incoming',
    });
  }
  const saved = await openMachine(directory, line, { signal });
  return { title: `the machine in ${directory}`, holds: { guest: new ParkedMachine(saved) }, runs: false };
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
