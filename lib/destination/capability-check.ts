/**
 * What this destination makes of each capability that a QEMU source can have on: it takes it, or refuses the
 * migration, by name, at the first record that shows it. Which record shows what is in lib/wire/capabilities.ts.
 */
import { MigrationError } from '../errors.js';
import { capabilitiesOfConfiguration, capabilityOf } from '../wire/capabilities.js';
import type { StreamRecord } from '../wire/messages.js';

/** Nothing more to do than what every stream needs. */
const HANDLED = 'handled';

/** By QEMU's name: {@link HANDLED}, or why it is refused. Those that are not here are not known, and refused too. */
export const capabilityHandling: ReadonlyMap<string, string> = new Map([
  ['auto-converge', HANDLED],
  ['background-snapshot', HANDLED],
  ['events', HANDLED],
  ['late-block-activate', HANDLED],
  ['pause-before-switchover', HANDLED],
  ['postcopy-blocktime', HANDLED],
  ['postcopy-ram', HANDLED],
  ['release-ram', HANDLED],
  ['return-path', HANDLED],
  ['validate-uuid', HANDLED],
  ['xbzrle', HANDLED],
  ['block', 'disks are not migrated here'],
  ['compress', 'pages packed with zlib are not unpacked here'],
  ['dirty-bitmaps', 'bitmaps of disks have no place here'],
  ['multifd', 'pages come over one connection here'],
  ['postcopy-preempt', 'it is off here, and requested pages come over the one connection'],
  ['x-colo', 'a guest that goes on at both sides is not kept in step here'],
  ['zero-copy-send', 'it wants multifd, and pages come over one connection here'],
  ['x-ignore-shared', 'the shared RAM stays in a file that the host of the source has, and does not come'],
]);

export function isHandled(capability: string): boolean {
  return capabilityHandling.get(capability) === HANDLED;
}

/** UNSUPPORTED, for what `shown` at `offset` shows to be on at the source. */
export function refusal(capability: string, shown: string, offset: number): MigrationError {
  const why = capabilityHandling.get(capability) ?? 'this version does not know it';
  return new MigrationError(
    'UNSUPPORTED',
    `the source has the capability ${capability} on, as ${shown} at offset ${offset} shows: ${why}`,
    {
      hint:
        `switch it off at the source: "migrate_set_capability ${capability} off" in QEMU's monitor, ` +
        'or QMP migrate-set-capabilities',
      offset,
      record: shown,
    },
  );
}

/** Throws {@link refusal} if a capability that is not handled shows in `record`. Allocates nothing for pages. */
export function requireHandled(record: StreamRecord, offset: number): void {
  if (record.type === 'configuration') {
    const refused = capabilitiesOfConfiguration(record).find((capability) => !isHandled(capability));
    if (refused !== undefined) throw refusal(refused, record.type, offset);
    return;
  }
  const capability = capabilityOf(record);
  if (capability !== undefined && !isHandled(capability)) throw refusal(capability, nameOf(record), offset);
}

/** What a record is called in a message: a command by its name, a section by its device's. */
export function nameOf(record: StreamRecord): string {
  if (record.type === 'command') return record.command;
  return record.type === 'section-start' ? `section ${record.idstr}` : record.type;
}
