/**
 * Encoders of everything a source or a destination sends, but page data itself.
 *
 * Pure; any thread. What has no `view` parameter is rare and returns a new Uint8Array. What has one is on
 * the hot path, writes there and allocates nothing; the caller has left room. Offsets and lengths are in
 * bytes, whole numbers up to 2^53. All throw RangeError for arguments that can't be encoded.
 */

import type { DiscardRange, RamBlockEntry, SectionEntry } from './messages.js';
import {
  BITMAP_END_MARK,
  Command,
  type CommandName,
  DISCARD_VERSION,
  LANE_MAGIC,
  MAX_DISCARD_RANGES,
  MAX_IDSTR_BYTES,
  RamFlag,
  RESUME_ACK_VALUE,
  ReturnPathMessage,
  type ReturnPathMessageName,
  SectionType,
  STREAM_MAGIC,
  STREAM_VERSION,
  SUBSECTION_VERSION,
  Subsection,
  TARGET_PAGE_BITS,
} from './protocol.js';
import { encodeIdstr, stringToUtf8 } from './text.js';

export { encodeIdstr };

const TWO_32 = 2 ** 32;

/** Most bytes a page header takes: the word, and a name with its length. */
/** How many pages a run has, behind the header of its first. */
export const RUN_LENGTH_BYTES = 4;
export const MAX_PAGE_HEADER_BYTES = 8 + 1 + MAX_IDSTR_BYTES;
/** Most bytes a REQ_PAGES_ID takes. */
export const MAX_REQ_PAGES_BYTES = 4 + 12 + 1 + MAX_IDSTR_BYTES;

// --- the stream ----------------------------------------------------------------------------------------------

export function encodeHeader(): Uint8Array {
  return concat(u32(STREAM_MAGIC), u32(STREAM_VERSION));
}

export interface Configuration {
  readonly machine: string;
  readonly capabilities?: readonly string[];
  /** 10 to 16. */
  readonly targetPageBits?: number;
  /** 32 hexadecimal digits, with dashes or without. */
  readonly uuid?: string;
}

/** The configuration section, with a subsection for each optional field that is there. */
export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const { capabilities, targetPageBits, uuid } = configuration;
  const machine = encodeIdstr(configuration.machine);
  const parts = [u8(SectionType.CONFIGURATION), u32(machine.length), machine];
  if (capabilities !== undefined) {
    parts.push(subsection(Subsection.CAPABILITIES), u32(capabilities.length), ...capabilities.map(str));
  }
  if (targetPageBits !== undefined) {
    check('targetPageBits', targetPageBits, TARGET_PAGE_BITS.min, TARGET_PAGE_BITS.max);
    parts.push(subsection(Subsection.TARGET_PAGE_BITS), u32(targetPageBits));
  }
  if (uuid !== undefined) parts.push(subsection(Subsection.UUID), uuidBytes(uuid));
  return concat(...parts);
}

function subsection(name: string): Uint8Array {
  return concat(u8(SectionType.SUBSECTION), str(name), u32(SUBSECTION_VERSION));
}

function uuidBytes(uuid: string): Uint8Array {
  const digits = uuid.replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(digits))
    throw new RangeError(`uuid ${JSON.stringify(uuid)} is not 32 hexadecimal digits`);
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** The head of a START or FULL section; its body and its footer go behind it. */
export function encodeSectionStart(section: SectionEntry & { readonly type: 'START' | 'FULL' }): Uint8Array {
  const { type, id, idstr, instanceId, versionId } = section;
  return concat(u8(SectionType[type]), u32(id), str(idstr), u32(instanceId), u32(versionId));
}

/** The head of a PART or END section; its body and its footer go behind it. */
export function encodeSectionPart(type: 'PART' | 'END', id: number): Uint8Array {
  return concat(u8(SectionType[type]), u32(id));
}

export function encodeFooter(id: number): Uint8Array {
  return concat(u8(SectionType.FOOTER), u32(id));
}

/** A device body that tells its own length, for `StreamDecoderOptions.selfSizedDevices`. */
export function encodeSelfSizedBody(body: Uint8Array): Uint8Array {
  return concat(u32(body.length), body);
}

export function encodeEof(): Uint8Array {
  return u8(SectionType.EOF);
}

export function encodeVmDescription(json: string): Uint8Array {
  const text = stringToUtf8(json);
  return concat(u8(SectionType.VMDESCRIPTION), u32(text.length), text);
}

// --- RAM -----------------------------------------------------------------------------------------------------

/**
 * The block list that opens the body of RAM's START section, without the EOS that ends it. The optional
 * fields go out where they are there; whoever decodes must expect just these.
 */
export function encodeRamBlockList(blocks: readonly Omit<RamBlockEntry, 'index'>[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  for (const { idstr, usedLength, pageSize, address } of blocks) {
    check('usedLength', usedLength, 1, Number.MAX_SAFE_INTEGER);
    // The flags lie below the smallest target page; a total with bits there would change them.
    if (usedLength % 2 ** TARGET_PAGE_BITS.min !== 0)
      throw new RangeError(`usedLength ${usedLength} is not whole pages`);
    total += usedLength;
    parts.push(str(idstr), u64(usedLength));
    if (pageSize !== undefined) parts.push(u64(pageSize));
    if (address !== undefined) parts.push(u64(address));
  }
  return concat(u64(total + RamFlag.MEM_SIZE), ...parts);
}

/** What a lane begins with. */
export function encodeLaneGreeting(): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, LANE_MAGIC);
  return bytes;
}

export function encodeRamEos(): Uint8Array {
  return u64(RamFlag.EOS);
}

/**
 * Writes the word and, unless `flags` has CONTINUE, the block's name; what the flags announce (page, fill
 * byte) goes behind it. At most {@link MAX_PAGE_HEADER_BYTES}. Returns the index behind what it wrote.
 *
 * @param offset of the page in its block, a multiple of the target page size; not checked
 * @param idstr as {@link encodeIdstr} gives it
 */
export function encodePageHeader(
  view: DataView,
  at: number,
  offset: number,
  flags: number,
  idstr: Uint8Array | undefined,
): number {
  view.setUint32(at, Math.floor(offset / TWO_32));
  // Bitwise operators take a number modulo 2^32, which is the low half.
  view.setUint32(at + 4, offset | flags);
  if ((flags & RamFlag.CONTINUE) !== 0) return at + 8;
  if (idstr === undefined) throw new RangeError('idstr is missing in a page header without CONTINUE');
  return putName(view, at + 8, idstr);
}

/**
 * Behind a page header with RUN: how many target pages the run has, from 1. The content follows, of all of them.
 * Four bytes. Returns the index behind.
 */
export function encodeRunLength(view: DataView, at: number, pages: number): number {
  view.setUint32(at, pages);
  return at + RUN_LENGTH_BYTES;
}

// --- commands ------------------------------------------------------------------------------------------------

export function encodeOpenReturnPath(): Uint8Array {
  return command('OPEN_RETURN_PATH');
}

/** `value`: any u32; what QEMU's source sends is in `Ping`. */
export function encodePing(value: number): Uint8Array {
  return command('PING', u32(value));
}

/** Without `sizes`, the form that advises postcopy of other devices than RAM. */
export function encodePostcopyAdvise(sizes?: {
  /** The page sizes of all RAM blocks, or-ed. */
  readonly pageSizeSummary: number;
  readonly targetPageSize: number;
}): Uint8Array {
  if (sizes === undefined) return command('POSTCOPY_ADVISE');
  return command('POSTCOPY_ADVISE', u64(sizes.pageSizeSummary), u64(sizes.targetPageSize));
}

export function encodePostcopyListen(): Uint8Array {
  return command('POSTCOPY_LISTEN');
}

export function encodePostcopyRun(): Uint8Array {
  return command('POSTCOPY_RUN');
}

/** One command, for at most 12 ranges (`MAX_DISCARD_RANGES`); whoever has more sends several. */
export function encodeRamDiscard(idstr: string, ranges: readonly DiscardRange[]): Uint8Array {
  if (ranges.length > MAX_DISCARD_RANGES) {
    throw new RangeError(`${ranges.length} ranges, more than the ${MAX_DISCARD_RANGES} of one command`);
  }
  const pairs = ranges.flatMap(({ start, length }) => [u64(start), u64(length)]);
  return command('POSTCOPY_RAM_DISCARD', u8(DISCARD_VERSION), str(idstr), u8(0), ...pairs);
}

/** PACKAGED and the package behind it. */
export function encodePackaged(inner: Uint8Array): Uint8Array {
  return concat(command('PACKAGED', u32(inner.length)), inner);
}

export function encodePostcopyResume(): Uint8Array {
  return command('POSTCOPY_RESUME');
}

/** Asks for the received bitmap of a block. */
export function encodeRecvBitmap(idstr: string): Uint8Array {
  return command('RECV_BITMAP', str(idstr));
}

export function encodeEnableColo(): Uint8Array {
  return command('ENABLE_COLO');
}

export function encodeSwitchoverStart(): Uint8Array {
  return command('SWITCHOVER_START');
}

function command(name: CommandName, ...payload: Uint8Array[]): Uint8Array {
  return concat(u8(SectionType.COMMAND), framed(Command[name], payload));
}

// --- the return path -----------------------------------------------------------------------------------------

/** `value`: 0 reports success. */
export function encodeShut(value: number): Uint8Array {
  return message('SHUT', u32(value));
}

/** `value`: that of the PING it answers. */
export function encodePong(value: number): Uint8Array {
  return message('PONG', u32(value));
}

/**
 * Writes a page request: REQ_PAGES_ID where the block is named, REQ_PAGES for the block named last. At most
 * {@link MAX_REQ_PAGES_BYTES}. Returns the index behind what it wrote.
 *
 * @param length in bytes, a u32
 * @param idstr as {@link encodeIdstr} gives it
 */
export function encodeReqPages(view: DataView, at: number, start: number, length: number, idstr?: Uint8Array): number {
  const named = idstr !== undefined;
  view.setUint16(at, named ? ReturnPathMessage.REQ_PAGES_ID : ReturnPathMessage.REQ_PAGES);
  view.setUint16(at + 2, named ? 13 + idstr.length : 12);
  view.setUint32(at + 4, Math.floor(start / TWO_32));
  view.setUint32(at + 8, start >>> 0);
  view.setUint32(at + 12, length);
  return named ? putName(view, at + 16, idstr) : at + 16;
}

/** The answer to a RECV_BITMAP command. `bitmap`: bit i % 8 of byte i / 8 is page i; its length a multiple of 8. */
export function encodeRecvBitmapReply(idstr: string, bitmap: Uint8Array): Uint8Array {
  if (bitmap.length % 8 !== 0) throw new RangeError(`bitmap length ${bitmap.length} is not a multiple of 8`);
  const endMark = concat(u32(BITMAP_END_MARK.high), u32(BITMAP_END_MARK.low));
  return concat(message('RECV_BITMAP', str(idstr)), u64(bitmap.length), bitmap, endMark);
}

export function encodeResumeAck(): Uint8Array {
  return message('RESUME_ACK', u32(RESUME_ACK_VALUE));
}

export function encodeSwitchoverAck(): Uint8Array {
  return message('SWITCHOVER_ACK');
}

function message(name: ReturnPathMessageName, ...payload: Uint8Array[]): Uint8Array {
  return framed(ReturnPathMessage[name], payload);
}

// --- fields --------------------------------------------------------------------------------------------------

/** A code, the length of its payload, the payload: commands and return-path messages alike. */
function framed(code: number, payload: readonly Uint8Array[]): Uint8Array {
  const body = concat(...payload);
  return concat(u16(code), u16(body.length), body);
}

function check(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} ${value} is not a whole number from ${min} to ${max}`);
  }
}

function u8(value: number): Uint8Array {
  return Uint8Array.of(value);
}

function u16(value: number): Uint8Array {
  check('u16', value, 0, 0xffff);
  const bytes = new Uint8Array(2);
  new DataView(bytes.buffer).setUint16(0, value);
  return bytes;
}

function u32(value: number): Uint8Array {
  check('u32', value, 0, 0xffffffff);
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function u64(value: number): Uint8Array {
  check('u64', value, 0, Number.MAX_SAFE_INTEGER);
  return concat(u32(Math.floor(value / TWO_32)), u32(value % TWO_32));
}

/** A name behind its u8 length. */
function str(name: string): Uint8Array {
  const bytes = encodeIdstr(name);
  return concat(u8(bytes.length), bytes);
}

function putName(view: DataView, at: number, name: Uint8Array): number {
  const { length } = name;
  view.setUint8(at, length);
  for (let i = 0; i < length; i++) view.setUint8(at + 1 + i, name[i]);
  return at + 1 + length;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
