/**
 * Finds the end of an opaque section body, which carries no length.
 *
 * Pure; any thread. A body ends at the first footer of its section that is followed by something that can
 * start another record, or by the end of the package. That is a guess, but one wrong only if a device's own
 * bytes spell its footer and a record's beginning. Invariant: reads nothing outside [start, end).
 */
import type { SectionEntry } from './messages.js';
import { commands, lengthAllowed, SectionType } from './protocol.js';
import { asciiToString, isPrintable } from './text.js';

/** `unknown`: the bytes that decide are not there yet. */
type Verdict = 'yes' | 'no' | 'unknown';

/** What comes behind the bytes at hand: more of them; nothing, as the input or the package ends there. */
export type Ending = 'open' | 'input' | 'package';

export interface BodyScan {
  /** Bytes from the start that are certainly body. */
  readonly length: number;
  /** Whether the footer stands right behind them. */
  readonly last: boolean;
}

interface Window {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly end: number;
  readonly ending: Ending;
  readonly sections: ReadonlyMap<number, SectionEntry>;
}

type Check = (window: Window, at: number) => Verdict;

const FOOTER_BYTES = 5;

/** What a section's first bytes must look like, by type; a type not listed can't follow a footer. */
const beginnings: ReadonlyMap<number, Check> = new Map<number, Check>([
  [SectionType.EOF, eofFollows],
  [SectionType.START, sectionStartFollows],
  [SectionType.FULL, sectionStartFollows],
  [SectionType.PART, sectionPartFollows],
  [SectionType.END, sectionPartFollows],
  [SectionType.COMMAND, commandFollows],
]);

/** Looks for the end of the body of section `id` in bytes[start, end). */
export function scanDeviceBody(
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
  id: number,
  ending: Ending,
  sections: ReadonlyMap<number, SectionEntry>,
): BodyScan {
  const window: Window = { bytes, view, end, ending, sections };
  const part = bytes.subarray(start, end);
  for (let found = part.indexOf(SectionType.FOOTER); found >= 0; found = part.indexOf(SectionType.FOOTER, found + 1)) {
    const verdict = footerStands(window, start + found, id);
    if (verdict !== 'no') return { length: found, last: verdict === 'yes' };
  }
  return { length: end - start, last: false };
}

function footerStands(window: Window, at: number, id: number): Verdict {
  const { view, end } = window;
  for (let i = 1; i < FOOTER_BYTES; i++) {
    if (at + i === end) return missing(window);
    if (view.getUint8(at + i) !== ((id >>> (8 * (4 - i))) & 0xff)) return 'no';
  }
  return recordFollows(window, at + FOOTER_BYTES);
}

function recordFollows(window: Window, at: number): Verdict {
  // A package may end with a section. A stream can't: it was cut, and what it meant is not guessed at.
  if (at === window.end) return window.ending === 'package' ? 'yes' : 'unknown';
  return beginnings.get(window.view.getUint8(at))?.(window, at) ?? 'no';
}

function missing(window: Window): Verdict {
  return window.ending === 'open' ? 'unknown' : 'no';
}

/** EOF is the stream's last byte, or only the VM description comes after it. */
function eofFollows(window: Window, at: number): Verdict {
  if (at + 1 === window.end) return window.ending === 'open' ? 'unknown' : 'yes';
  return window.view.getUint8(at + 1) === SectionType.VMDESCRIPTION ? 'yes' : 'no';
}

/** A printable idstr, and an id that is new or this section's own. */
function sectionStartFollows(window: Window, at: number): Verdict {
  const { bytes, view, end, sections } = window;
  const nameAt = at + 6;
  if (nameAt > end) return missing(window);
  const nameEnd = nameAt + view.getUint8(at + 5);
  if (nameEnd === nameAt || !isPrintable(bytes, nameAt, Math.min(nameEnd, end))) return 'no';
  if (nameEnd > end) return missing(window);
  const known = sections.get(view.getUint32(at + 1));
  return known === undefined || known.idstr === asciiToString(bytes, nameAt, nameEnd) ? 'yes' : 'no';
}

function sectionPartFollows(window: Window, at: number): Verdict {
  if (at + 5 > window.end) return missing(window);
  return window.sections.has(window.view.getUint32(at + 1)) ? 'yes' : 'no';
}

function commandFollows(window: Window, at: number): Verdict {
  if (at + 5 > window.end) return missing(window);
  const entry = commands.get(window.view.getUint16(at + 1));
  return entry !== undefined && lengthAllowed(entry.length, window.view.getUint16(at + 3)) ? 'yes' : 'no';
}
