/**
 * Encodes again what a decoder returned: each record to the bytes it was decoded from. What the codec does
 * not own (page data, device bodies) is copied from there.
 */
import type { Located } from '#lib/wire/decode-all.js';
import * as encode from '#lib/wire/encode.js';
import type { ReturnPathMessageRecord, StreamRecord } from '#lib/wire/messages.js';
import { RamFlag } from '#lib/wire/protocol.js';
import { joined } from './feed.js';

/** Records that follow one another from offset 0, with nothing between them; packages as their parts. */
export function encodeRecords(records: readonly Located<StreamRecord>[], source: Uint8Array): Uint8Array {
  return inPlace(records, (record) => encodeRecord(record, source));
}

/** The same for the messages of a return path. */
export function encodeMessages(
  messages: readonly (ReturnPathMessageRecord & { readonly recordOffset: number })[],
): Uint8Array {
  return inPlace(messages, encodeMessage);
}

function inPlace<R extends { readonly recordOffset: number }>(
  records: readonly R[],
  encodeOne: (record: R) => Uint8Array,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const record of records) {
    if (record.recordOffset !== at) throw new Error(`a record at ${record.recordOffset}, the one before ends at ${at}`);
    const encoded = encodeOne(record);
    parts.push(encoded);
    at += encoded.length;
  }
  return joined(parts);
}

/** One record; PACKAGED without its package. `source` is what `recordOffset` and `dataStart` are indexes into. */
export function encodeRecord(record: Located<StreamRecord>, source: Uint8Array): Uint8Array {
  switch (record.type) {
    case 'header':
      return encode.encodeHeader();
    case 'configuration':
      return encode.encodeConfiguration(record);
    case 'section-start':
      return encode.encodeSectionStart({ ...record, type: record.kind });
    case 'section-part':
      return encode.encodeSectionPart(record.kind, record.id);
    case 'section-end':
      return encode.encodeFooter(record.id);
    case 'eof':
      return encode.encodeEof();
    case 'vmdescription':
      return encode.encodeVmDescription(record.json);
    case 'ram-blocks':
      return encode.encodeRamBlockList(record.blocks);
    case 'ram-eos':
      return encode.encodeRamEos();
    case 'device-data':
      return source.subarray(record.dataStart, record.dataStart + record.dataLength);
    case 'page':
      // CONTINUE is the sender's choice: take it from the stream, and all else from the record.
      return encodePage(record, source, (source[record.recordOffset + 7] & RamFlag.CONTINUE) !== 0);
    case 'command':
      return encodeCommand(record);
    default:
      throw new Error(`no encoder for ${record.type}`);
  }
}

const pageFlags = {
  normal: RamFlag.PAGE,
  zero: RamFlag.ZERO,
  xbzrle: RamFlag.XBZRLE,
  compressed: RamFlag.COMPRESS_PAGE,
} as const;

type Page = Extract<StreamRecord, { type: 'page' }>;

/** `continued`: in the block of the page before, which is not named again. */
export function encodePage(record: Page, source: Uint8Array, continued: boolean): Uint8Array {
  const header = new Uint8Array(encode.MAX_PAGE_HEADER_BYTES);
  const flags = pageFlags[record.kind] | (continued ? RamFlag.CONTINUE : 0);
  const idstr = continued ? undefined : encode.encodeIdstr(record.block.idstr);
  const end = encode.encodePageHeader(new DataView(header.buffer), 0, record.offset, flags, idstr);
  return joined([header.subarray(0, end), pageBody(record, source)]);
}

function pageBody(record: Page, source: Uint8Array): Uint8Array {
  const { kind, fill, dataStart, dataLength } = record;
  const data = source.subarray(dataStart, dataStart + dataLength);
  const lengthBytes = [24, 16, 8, 0].map((shift) => (dataLength >>> shift) & 0xff);
  switch (kind) {
    case 'normal':
      return data;
    case 'zero':
      return Uint8Array.of(fill);
    case 'xbzrle':
      return joined([Uint8Array.of(1, ...lengthBytes.slice(2)), data]);
    case 'compressed':
      return joined([Uint8Array.from(lengthBytes), data]);
  }
}

function encodeCommand(record: Extract<StreamRecord, { type: 'command' }>): Uint8Array {
  switch (record.command) {
    case 'OPEN_RETURN_PATH':
      return encode.encodeOpenReturnPath();
    case 'PING':
      return encode.encodePing(record.value);
    case 'POSTCOPY_ADVISE': {
      const { pageSizeSummary, targetPageSize } = record;
      if (pageSizeSummary === undefined || targetPageSize === undefined) return encode.encodePostcopyAdvise();
      return encode.encodePostcopyAdvise({ pageSizeSummary, targetPageSize });
    }
    case 'POSTCOPY_LISTEN':
      return encode.encodePostcopyListen();
    case 'POSTCOPY_RUN':
      return encode.encodePostcopyRun();
    case 'POSTCOPY_RAM_DISCARD':
      return encode.encodeRamDiscard(record.idstr, record.ranges);
    case 'PACKAGED':
      // The package follows as records of its own.
      return encode.encodePackaged(new Uint8Array(record.length)).subarray(0, PACKAGED_BYTES);
    case 'POSTCOPY_RESUME':
      return encode.encodePostcopyResume();
    case 'RECV_BITMAP':
      return encode.encodeRecvBitmap(record.idstr);
    case 'ENABLE_COLO':
      return encode.encodeEnableColo();
    case 'SWITCHOVER_START':
      return encode.encodeSwitchoverStart();
  }
}

/** Bytes of the PACKAGED command, in front of its package. */
export const PACKAGED_BYTES = 9;

export function encodeMessage(message: ReturnPathMessageRecord): Uint8Array {
  switch (message.type) {
    case 'SHUT':
      return encode.encodeShut(message.value);
    case 'PONG':
      return encode.encodePong(message.value);
    case 'REQ_PAGES': {
      const bytes = new Uint8Array(encode.MAX_REQ_PAGES_BYTES);
      const idstr = message.idstr === undefined ? undefined : encode.encodeIdstr(message.idstr);
      const end = encode.encodeReqPages(new DataView(bytes.buffer), 0, message.start, message.length, idstr);
      return bytes.subarray(0, end);
    }
    case 'RECV_BITMAP':
      return encode.encodeRecvBitmapReply(message.idstr, message.bitmap);
    case 'RESUME_ACK':
      return encode.encodeResumeAck();
    case 'SWITCHOVER_ACK':
      return encode.encodeSwitchoverAck();
  }
}
