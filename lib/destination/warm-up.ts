/**
 * The way of a package through the main thread, gone through while no source has come: what runs for the first time V8
 * compiles first, and the guest would stand still meanwhile. The package is made up, and nobody gets it. Main thread
 * only.
 */
import { concatenate } from '../memory/bytes.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { StreamDecoder } from '../wire/decode.js';
import * as encode from '../wire/encode.js';
import {
  encodeGlobalStateBody,
  GLOBAL_STATE_SECTION,
  GUEST_STATE_SECTION,
  MACHINE_NAME,
  RAM_SECTION,
} from '../wire/machine.js';
import type { StreamRecord } from '../wire/messages.js';
import { Ping } from '../wire/protocol.js';
import { createIncomingMachine, type ExpectedMachine, type IncomingMachine } from './incoming-machine.js';
import { decoderOptions } from './stream-reader.js';

const BLOCK = { idstr: 'ram', usedLength: TARGET_PAGE_SIZE };
/** Of the device state; a source's has some kilobytes. */
const STATE_BYTES = 1024;

/** Takes a few milliseconds, before there is a connection. */
export function warmUp(expected: ExpectedMachine): void {
  const isOwn = expected === 'own';
  const machine = createIncomingMachine(isOwn ? expected : { like: undefined });
  const bytes = streamOf(isOwn);
  goThrough(new StreamDecoder(decoderOptions), bytes, 0, machine);
  machine.take(bytes.length);
}

/** What is about the machine, from `start` to the end of the package. */
function goThrough(decoder: StreamDecoder, bytes: Uint8Array, start: number, machine: IncomingMachine): void {
  const view = new DataView(bytes.buffer);
  for (let at = start; at < bytes.length; at += decoder.consumed) {
    const record = decoder.next(bytes, view, at, bytes.length);
    if (record === undefined) return;
    if (record.type === 'command' && record.command === 'PACKAGED')
      return goThrough(decoder.package(), bytes, at + decoder.consumed, machine);
    take(record, bytes, machine);
  }
}

function take(record: StreamRecord, bytes: Uint8Array, machine: IncomingMachine): void {
  switch (record.type) {
    case 'configuration':
      return machine.configuration(record);
    case 'ram-blocks':
      return machine.blocks(record.blocks);
    case 'section-start':
      return machine.sectionStart(record);
    case 'device-data':
      return machine.deviceData(record, bytes);
    case 'section-end':
      return machine.sectionEnd(record);
  }
}

function streamOf(isOwn: boolean): Uint8Array {
  const { id } = RAM_SECTION;
  return concatenate([
    encode.encodeHeader(),
    encode.encodeConfiguration({ machine: MACHINE_NAME }),
    encode.encodeOpenReturnPath(),
    encode.encodePing(Ping.SETUP),
    encode.encodePostcopyAdvise({ pageSizeSummary: TARGET_PAGE_SIZE, targetPageSize: TARGET_PAGE_SIZE }),
    encode.encodeSectionStart({ type: 'START', ...RAM_SECTION }),
    encode.encodeRamBlockList([BLOCK]),
    encode.encodeRamEos(),
    encode.encodeFooter(id),
    encode.encodeRamDiscard(BLOCK.idstr, [{ start: 0, length: BLOCK.usedLength }]),
    encode.encodePing(Ping.STOPPED),
    encode.encodePackaged(packageOf(isOwn)),
  ]);
}

/** A machine that is none of ours has any sections, whose ends are found by what follows them. */
function packageOf(isOwn: boolean): Uint8Array {
  const state = new Uint8Array(STATE_BYTES);
  const device = { ...GUEST_STATE_SECTION, idstr: isOwn ? GUEST_STATE_SECTION.idstr : 'device' };
  return concatenate([
    encode.encodePostcopyListen(),
    ...section(device, isOwn ? encode.encodeSelfSizedBody(state) : state),
    ...section(GLOBAL_STATE_SECTION, encodeGlobalStateBody('running')),
    encode.encodePing(Ping.PACKAGE),
    encode.encodePing(Ping.SWITCHOVER),
    encode.encodePostcopyRun(),
  ]);
}

function section(identity: typeof RAM_SECTION, body: Uint8Array): readonly Uint8Array[] {
  return [encode.encodeSectionStart({ type: 'FULL', ...identity }), body, encode.encodeFooter(identity.id)];
}
