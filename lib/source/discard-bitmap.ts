/**
 * The discard bitmap: which pages the destination must throw away before it runs, as RAM_DISCARD
 * commands. These are the pages written since they were sent; pages never sent are still dirty and
 * so among them, which costs the destination nothing as it holds nothing there. One bitmap carries both.
 *
 * A destination throws away and faults in whole host pages, so one that is dirty in part is dirty
 * throughout first ({@link canonicalize}). Pure.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { alignDown, pageOffset } from '../memory/page.js';
import { encodeRamDiscard } from '../wire/encode.js';
import { MAX_DISCARD_RANGES } from '../wire/protocol.js';

export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/**
 * Makes each host page with a dirty target page dirty as a whole: then no host page was sent in part, nor is
 * dirty in part. `hostPages`: target pages of one host page; the bitmap covers whole host pages.
 */
export function canonicalize(dirty: PageBitmap, hostPages: number): void {
  if (hostPages === 1) return;
  for (let page = dirty.findNext(0); page < dirty.pageCount; ) {
    const first = alignDown(page, hostPages);
    dirty.setRange(first, hostPages);
    page = dirty.findNext(first + hostPages);
  }
}

/** The runs of set bits as byte ranges: ascending, none adjacent to the next. */
export function* dirtyRanges(dirty: PageBitmap): Generator<ByteRange> {
  let first = dirty.findNext(0);
  while (first < dirty.pageCount) {
    const end = dirty.findNextClear(first);
    yield { start: pageOffset(first), length: pageOffset(end - first) };
    first = dirty.findNext(end);
  }
}

/** The commands that discard what is dirty in one block; at least none, each of at most MAX_DISCARD_RANGES ranges. */
export function* discardCommands(idstr: string, dirty: PageBitmap): Generator<Uint8Array> {
  let ranges: ByteRange[] = [];
  for (const range of dirtyRanges(dirty)) {
    ranges.push(range);
    if (ranges.length === MAX_DISCARD_RANGES) {
      yield encodeRamDiscard(idstr, ranges);
      ranges = [];
    }
  }
  if (ranges.length > 0) yield encodeRamDiscard(idstr, ranges);
}

/**
 * A bitmap of what is dirty now and was not in `before`, which becomes a copy of now: what is still
 * to be discarded when `before` has been.
 */
export function newlyDirty(now: PageBitmap, before: PageBitmap): PageBitmap {
  const fresh = new PageBitmap(now.pageCount);
  for (let i = 0; i < now.words.length; i += 1) {
    fresh.words[i] = now.words[i] & ~before.words[i];
    before.words[i] = now.words[i];
  }
  return fresh;
}
