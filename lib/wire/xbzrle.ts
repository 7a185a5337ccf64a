/**
 * The xbzrle form of a page: what has changed in it since it was sent last. Pure, any thread.
 *
 * A delta is pairs of runs from the page's first byte on: how many bytes stay, then how many are replaced, and
 * those. Lengths are LEB128 of one or two bytes. No run is empty but the first of those that stay, and behind the
 * last pair the page stays as it is. A delta without any pair changes nothing.
 */
import { WireError, type WireErrorCode } from './errors.js';

/** Set in a byte of LEB128 that another one follows. */
const MORE = 0x80;

const NO_LENGTH = 'no length of a run, which is LEB128 in one or two bytes';

/**
 * Changes `page` as the delta in bytes[start, end) says. `offset` is where its record begins in the stream, for
 * errors. Throws WireError and leaves the page changed in part then: give it a copy.
 */
export function applyXbzrle(page: Uint8Array, bytes: Uint8Array, start: number, end: number, offset: number): void {
  const wrong = (code: WireErrorCode, at: number, detail: string): WireError =>
    new WireError(code, `byte ${at - start} of its xbzrle delta: ${detail}`, offset, 'page');
  let place = 0;
  let at = start;
  while (at < end) {
    const kept = runLength(bytes, at, end);
    if (kept < 0) throw wrong('BAD_LENGTH', at, NO_LENGTH);
    if (kept === 0 && at > start) throw wrong('BAD_VALUE', at, 'an empty run of bytes that stay');
    at += lengthBytes(bytes[at]);
    place += kept;

    const replaced = runLength(bytes, at, end);
    if (replaced < 0) throw wrong('BAD_LENGTH', at, NO_LENGTH);
    if (replaced === 0) throw wrong('BAD_VALUE', at, 'an empty run of bytes to replace');
    if (place + replaced > page.length) {
      throw wrong('BAD_LENGTH', at, `${replaced} bytes to replace from byte ${place} of a page of ${page.length}`);
    }
    at += lengthBytes(bytes[at]);
    if (at + replaced > end) throw wrong('BAD_LENGTH', at, `${end - at} of ${replaced} bytes to replace`);
    for (let i = 0; i < replaced; i += 1) page[place + i] = bytes[at + i];
    place += replaced;
    at += replaced;
  }
}

/** The length that begins at `at`; -1 where there is none. */
function runLength(bytes: Uint8Array, at: number, end: number): number {
  if (at === end) return -1;
  const low = bytes[at];
  if (low < MORE) return low;
  const high = at + 1 < end ? bytes[at + 1] : MORE;
  return high < MORE ? low - MORE + high * MORE : -1;
}

const lengthBytes = (first: number): number => (first < MORE ? 1 : 2);
