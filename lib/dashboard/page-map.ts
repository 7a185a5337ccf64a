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

/** A state's share of each cell, a hexadecimal digit a cell: 0 none of its pages, f all of them. */
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

/** The pages of word `index` of a bitmap, 32 of them, that are in a state: bit i is page 32 × index + i. */
type WordOf = (index: number) => number;

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

function countsOf(pages: number, cellPages: number, wordOf: WordOf): Uint32Array {
  const counts = new Uint32Array(Math.ceil(pages / cellPages));
  const words = Math.ceil(pages / 32);
  if (cellPages >= 32) {
    const shift = Math.log2(cellPages / 32);
    for (let index = 0; index < words; index += 1) {
      const word = wordOf(index);
      if (word !== 0) counts[index >>> shift] += popcount(word);
    }
    return counts;
  }
  const mask = 2 ** cellPages - 1;
  for (let cell = 0; cell < counts.length; cell += 1) {
    const first = cell * cellPages;
    counts[cell] = popcount((wordOf(first >>> 5) >>> (first & 31)) & mask);
  }
  return counts;
}

function share(count: number, of: number): string {
  if (count === 0) return '0';
  if (count === of) return 'f';
  return (1 + Math.floor(((count - 1) * 14) / of)).toString(16);
}

function blockMap(
  idstr: string,
  pages: number,
  cellsMax: number,
  states: Partial<Record<PageState, WordOf>>,
): BlockMap {
  const cellPages = pagesPerCell(pages, cellsMax);
  const entries = Object.entries(states).map(([state, wordOf]) => {
    const counts = countsOf(pages, cellPages, wordOf);
    let total = 0;
    let shares = '';
    for (let cell = 0; cell < counts.length; cell += 1) {
      total += counts[cell];
      shares += share(counts[cell], Math.min(cellPages, pages - cell * cellPages));
    }
    return [state, { pages: total, shares }];
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
    return blockMap(idstr, pages.received.pageCount, cells[index], {
      background: (i) => received[i] & ~faulted[i],
      faulted: (i) => received[i] & faulted[i],
      discarded: (i) => discarded[i] & ~(received[i] | requested[i]),
      waiting: (i) => requested[i] & ~received[i],
    });
  });
}

/** The map of a source, in the status `active` or later. */
export function mapSent(blocks: readonly SentPages[]): readonly BlockMap[] {
  const cells = cellsOf(blocks.map(({ dirty }) => dirty.pageCount));
  return blocks.map(({ idstr, dirty: { words: dirty, pageCount }, asked: { words: asked } }, index) => {
    const inBlock = (i: number) => (i === dirty.length - 1 && pageCount % 32 !== 0 ? 2 ** (pageCount % 32) - 1 : -1);
    return blockMap(idstr, pageCount, cells[index], {
      sent: (i) => ~(dirty[i] | asked[i]) & inBlock(i),
      answered: (i) => asked[i] & ~dirty[i],
      asked: (i) => asked[i] & dirty[i],
    });
  });
}
