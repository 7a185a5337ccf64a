/**
 * A map of a RAM block's pages, small enough to be drawn and sent whatever the block's size: cells of as many pages
 * each, and for each cell how many of them are in which state. Pure; bitmaps are read word by word, so that a block of
 * 64 GiB takes milliseconds.
 */
import type { ArrivingPages } from '../destination/watched-pages.js';
import type { SentPages } from '../source/outgoing.js';

/** In the order in which they are shown. A page in none of them is not here yet. */
export const arrivingStates = ['background', 'faulted', 'discarded', 'waiting'] as const;
/** A page in none of them is still to be sent. */
export const sentStates = ['sent', 'answered', 'asked'] as const;

export type ArrivingState = (typeof arrivingStates)[number];
export type SentState = (typeof sentStates)[number];
export type PageState = ArrivingState | SentState;

/** The parts of each cell that are in a state, of 15: a hexadecimal digit a cell. 0: no page; f: all of them. */
export type Shares = string;

export interface BlockMap {
  readonly idstr: string;
  readonly pages: number;
  readonly pagesPerCell: number;
  readonly states: Readonly<Partial<Record<PageState, { readonly pages: number; readonly shares: Shares }>>>;
}

/** Cells of all blocks together, and how many each has at least. */
const CELLS_MAX = 8192;
const BLOCK_CELLS_MAX = 4096;
const BLOCK_CELLS_MIN = 64;

/** Parts of a cell. */
export const WHOLE = 15;

/** Puts into `masks`, one for each state, which of the 32 pages of word `index` are in it: bit i is page i of them. */
type Classify = (index: number, masks: Int32Array) => void;

function popcount(word: number): number {
  let v = word - ((word >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Of a power of two, so that a cell is whole words or a part of one. */
function pagesPerCell(pages: number, cellsMax: number): number {
  let size = 1;
  while (Math.ceil(pages / size) > cellsMax) size *= 2;
  return size;
}

/** By state, how many pages of each cell are in it. Each word is looked at once: there may be half a million. */
function countsOf(pages: number, cellPages: number, states: number, classify: Classify): readonly Uint32Array[] {
  const counts = Array.from({ length: states }, () => new Uint32Array(Math.ceil(pages / cellPages)));
  const masks = new Int32Array(states);
  const words = Math.ceil(pages / 32);
  const cellsPerWord = Math.max(1, 32 / cellPages);
  const wordsPerCell = Math.max(1, cellPages / 32);
  const cellMask = cellPages >= 32 ? -1 : 2 ** cellPages - 1;
  for (let index = 0; index < words; index += 1) {
    classify(index, masks);
    const first = cellsPerWord === 1 ? Math.floor(index / wordsPerCell) : index * cellsPerWord;
    for (let state = 0; state < states; state += 1) {
      const mask = masks[state];
      if (mask === 0) continue;
      const ofState = counts[state];
      if (cellsPerWord === 1) ofState[first] += mask === -1 ? 32 : popcount(mask);
      else
        for (let i = 0; i < cellsPerWord; i += 1) ofState[first + i] += popcount((mask >>> (i * cellPages)) & cellMask);
    }
  }
  return counts;
}

const DIGITS = new TextEncoder().encode('0123456789abcdef');

/**
 * By state, what of 15 parts its count is in each cell: one at least where there is any, and 15 together only where
 * every page of the cell is counted. With nothing made for a cell: there are thousands, and a migration goes on.
 */
function sharesOf(counts: readonly Uint32Array[], pages: number, cellPages: number): readonly Shares[] {
  const shares = counts.map(({ length }) => new Uint8Array(length));
  for (let cell = 0; cell * cellPages < pages; cell += 1) {
    const size = Math.min(cellPages, pages - cell * cellPages);
    let counted = 0;
    let sum = 0;
    let largest = 0;
    for (let state = 0; state < counts.length; state += 1) {
      const count = counts[state][cell];
      const share = count === 0 ? 0 : Math.max(1, Math.round((count * WHOLE) / size));
      shares[state][cell] = share;
      counted += count;
      sum += share;
      if (share > shares[largest][cell]) largest = state;
    }
    shares[largest][cell] -= counted === size ? sum - WHOLE : Math.max(0, sum - (WHOLE - 1));
  }
  return shares.map((each) => new TextDecoder().decode(each.map((share) => DIGITS[share])));
}

function blockMap(
  idstr: string,
  pages: number,
  cellsMax: number,
  states: readonly PageState[],
  classify: Classify,
): BlockMap {
  const cellPages = pagesPerCell(pages, cellsMax);
  const counts = countsOf(pages, cellPages, states.length, classify);
  const shares = sharesOf(counts, pages, cellPages);
  const entries = states.map((state, i) => {
    const total = counts[i].reduce((sum, count) => sum + count, 0);
    return [state, { pages: total, shares: shares[i] }];
  });
  return { idstr, pages, pagesPerCell: cellPages, states: Object.fromEntries(entries) };
}

/** How many cells each block may have: by its size, and some in any case. */
export function cellsOf(blockPages: readonly number[]): readonly number[] {
  const total = blockPages.reduce((sum, pages) => sum + pages, 0);
  return blockPages.map((pages) => {
    const ofAll = Math.floor((CELLS_MAX * pages) / Math.max(total, 1));
    return Math.min(BLOCK_CELLS_MAX, Math.max(BLOCK_CELLS_MIN, ofAll));
  });
}

/** The map of a destination. */
export function mapArriving(blocks: readonly ArrivingPages[]): readonly BlockMap[] {
  const cells = cellsOf(blocks.map(({ received }) => received.pageCount));
  return blocks.map(({ idstr, ...pages }, index) => {
    const [received, requested, discarded, faulted] = [
      pages.received.words,
      pages.requested.words,
      pages.discarded.words,
      pages.faulted.words,
    ];
    return blockMap(idstr, pages.received.pageCount, cells[index], arrivingStates, (i, masks) => {
      const here = received[i];
      const asked = requested[i];
      masks[0] = here & ~faulted[i];
      masks[1] = here & faulted[i];
      masks[2] = discarded[i] & ~(here | asked);
      masks[3] = asked & ~here;
    });
  });
}

/** The map of a source, in the status `active` or later. */
export function mapSent(blocks: readonly SentPages[]): readonly BlockMap[] {
  const cells = cellsOf(blocks.map(({ dirty }) => dirty.pageCount));
  return blocks.map(({ idstr, dirty: { words: dirty, pageCount }, asked: { words: asked } }, index) => {
    const inBlock = (i: number) => (i === dirty.length - 1 && pageCount % 32 !== 0 ? 2 ** (pageCount % 32) - 1 : -1);
    return blockMap(idstr, pageCount, cells[index], sentStates, (i, masks) => {
      masks[0] = ~(dirty[i] | asked[i]) & inBlock(i);
      masks[1] = asked[i] & ~dirty[i];
      masks[2] = asked[i] & dirty[i];
    });
  });
}
