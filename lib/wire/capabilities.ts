/**
 * Which of QEMU's migration capabilities a part of the stream gives away, at the first record that shows it.
 *
 * Pure data and one look-up; any thread. Capabilities that leave no trace (events, auto-converge,
 * release-ram, postcopy-blocktime, zero-copy-send, …) are in no table: a receiver need not know of them.
 * background-snapshot leaves none either, as it only changes when the source reads the pages it sends.
 */
import type { MultifdRecord, PageKind, ReturnPathMessageRecord, StreamRecord } from './messages.js';
import { type CommandName, MULTIFD_MAGIC, STREAM_MAGIC } from './protocol.js';

/** By the first word of a connection; undefined for the main one. The preempt channel begins with none. */
export const capabilityOfMagic: ReadonlyMap<number, string | undefined> = new Map([
  [STREAM_MAGIC, undefined],
  [MULTIFD_MAGIC, 'multifd'],
]);

export const capabilityOfPage: Readonly<Record<PageKind, string | undefined>> = {
  normal: undefined,
  zero: undefined,
  xbzrle: 'xbzrle',
  compressed: 'compress',
};

/** LISTEN, RUN and packages only come after an ADVISE, which tells what is to do postcopy. */
export const capabilityOfCommand: Readonly<Record<CommandName, string | undefined>> = {
  OPEN_RETURN_PATH: 'return-path',
  PING: undefined,
  POSTCOPY_ADVISE: 'postcopy-ram',
  POSTCOPY_LISTEN: undefined,
  POSTCOPY_RUN: undefined,
  POSTCOPY_RAM_DISCARD: 'postcopy-ram',
  PACKAGED: undefined,
  ENABLE_COLO: 'x-colo',
  POSTCOPY_RESUME: 'postcopy-ram',
  RECV_BITMAP: 'postcopy-ram',
  SWITCHOVER_START: undefined,
};

/** By the idstr of a section. */
export const capabilityOfSection: ReadonlyMap<string, string> = new Map([
  ['block', 'block'],
  ['dirty-bitmap', 'dirty-bitmaps'],
]);

export const capabilityOfMessage: Readonly<Record<ReturnPathMessageRecord['type'], string | undefined>> = {
  SHUT: 'return-path',
  PONG: 'return-path',
  REQ_PAGES: 'postcopy-ram',
  RECV_BITMAP: 'postcopy-ram',
  RESUME_ACK: 'postcopy-ram',
  SWITCHOVER_ACK: 'switchover-ack',
};

const CAPABILITY_UUID = 'validate-uuid';

/** The capability that `record` shows to be on; allocates nothing. A configuration shows more than one. */
export function capabilityOf(
  record: Exclude<StreamRecord, { type: 'configuration' }> | MultifdRecord | ReturnPathMessageRecord,
): string | undefined {
  switch (record.type) {
    case 'page':
      return capabilityOfPage[record.kind];
    case 'command': {
      const otherThanRam = record.command === 'POSTCOPY_ADVISE' && record.pageSizeSummary === undefined;
      return otherThanRam ? 'dirty-bitmaps' : capabilityOfCommand[record.command];
    }
    case 'section-start':
      return capabilityOfSection.get(record.idstr);
    case 'multifd-flush':
    case 'multifd-opening':
    case 'multifd-packet':
      return 'multifd';
    case 'SHUT':
    case 'PONG':
    case 'REQ_PAGES':
    case 'RECV_BITMAP':
    case 'RESUME_ACK':
    case 'SWITCHOVER_ACK':
      return capabilityOfMessage[record.type];
    default:
      return undefined;
  }
}

/** The capabilities that the configuration names or shows. */
export function capabilitiesOfConfiguration(
  configuration: Extract<StreamRecord, { type: 'configuration' }>,
): readonly string[] {
  return [...(configuration.capabilities ?? []), ...(configuration.uuid === undefined ? [] : [CAPABILITY_UUID])];
}
