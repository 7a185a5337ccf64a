/**
 * Names and text between bytes and strings. Pure; any thread.
 *
 * Invariant: a name that came from a peer is printable ASCII, so it can go into messages, tables and file
 * names without further care for control characters.
 */
import { MAX_IDSTR_BYTES } from './protocol.js';

const FIRST_PRINTABLE = 0x20;
const LAST_PRINTABLE = 0x7e;

const utf8 = { encoder: new TextEncoder(), decoder: new TextDecoder() };

/** Whether bytes[start, end) are all printable ASCII. */
export function isPrintable(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = bytes[at];
    if (byte < FIRST_PRINTABLE || byte > LAST_PRINTABLE) return false;
  }
  return true;
}

/** Bytes[start, end) as a string, one character a byte. */
export function asciiToString(bytes: Uint8Array, start: number, end: number): string {
  let text = '';
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at]);
  return text;
}

/** Bytes[start, end) as UTF-8. */
export function utf8ToString(bytes: Uint8Array, start: number, end: number): string {
  return utf8.decoder.decode(bytes.subarray(start, end));
}

export function stringToUtf8(text: string): Uint8Array {
  return utf8.encoder.encode(text);
}

/**
 * The bytes of a name: an idstr, a block's name, a machine.
 * @throws RangeError unless it is 1 to 255 characters of printable ASCII
 */
export function encodeIdstr(name: string): Uint8Array {
  const bytes = stringToUtf8(name);
  if (bytes.length === 0 || bytes.length > MAX_IDSTR_BYTES || !isPrintable(bytes, 0, bytes.length)) {
    throw new RangeError(`name ${JSON.stringify(name)} is not 1 to ${MAX_IDSTR_BYTES} characters of printable ASCII`);
  }
  return bytes;
}

/** 16 bytes as a UUID: lower-case, with dashes. */
export function uuidText(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
