/** The cells of a page map: what is in them, what they are called, and where keys lead. Pure. */
import { type BlockMap, type PageState, WHOLE } from '../page-map.js';
import { bytes, count } from './format.js';

const PAGE_BYTES = 4096;

/** What pages in a state are called; `none`: those that are in no other. */
export const stateNames: Readonly<Record<PageState, string>> = {
  background: 'received in background',
  faulted: 'faulted for',
  discarded: 'discarded',
  waiting: 'waiting now',
  sent: 'sent',
  answered: 'sent when asked for',
  asked: 'asked for',
};
export const restNames = { source: 'still to be sent', destination: 'not yet here' } as const;

export function cellCount({ pages, pagesPerCell }: BlockMap): number {
  return Math.ceil(pages / pagesPerCell);
}

/** Of {@link WHOLE} parts, those of each state that there is any of. */
export function sharesOf({ states }: BlockMap, cell: number): readonly (readonly [PageState, number])[] {
  return Object.entries(states).flatMap(([state, { shares }]) => {
    const share = Number.parseInt(shares[cell], 16);
    return share > 0 ? [[state as PageState, share] as const] : [];
  });
}

/**
 * How many of a cell's `pixels` each state has, from the top; what pages in no state have comes last. A state has one
 * at least where there is a page in it, so that one that waits is seen among thousands.
 */
export function partsOf(
  map: BlockMap,
  cell: number,
  pixels: number,
): readonly (readonly [PageState | 'none', number])[] {
  const shares = sharesOf(map, cell);
  const rest = shares.reduce((left, [, share]) => left - share, WHOLE);
  const all: readonly (readonly [PageState | 'none', number])[] = rest > 0 ? [...shares, ['none', rest]] : shares;
  const parts = all.map(([state, share]) => [state, Math.max(1, Math.round((share * pixels) / WHOLE))] as const);
  const excess = parts.reduce((sum, [, height]) => sum + height, -pixels);
  const largest = parts.reduce((one, other) => (other[1] > one[1] ? other : one));
  return parts.map((part) => (part === largest ? [part[0], part[1] - excess] : part));
}

/** The cell in a sentence: which pages, and how many of them are in which state. */
export function cellText(map: BlockMap, cell: number): string {
  const first = cell * map.pagesPerCell;
  const last = Math.min(first + map.pagesPerCell, map.pages) - 1;
  const pages = first === last ? `page ${count(first)}` : `pages ${count(first)} to ${count(last)}`;
  const shares = sharesOf(map, cell).map(([state, share]) => {
    if (first === last) return stateNames[state];
    return share === WHOLE
      ? `all ${stateNames[state]}`
      : `about ${Math.round((share * 100) / WHOLE)} % ${stateNames[state]}`;
  });
  const rest = restNames['sent' in map.states ? 'source' : 'destination'];
  return `${map.idstr}, ${pages} (from ${bytes(first * PAGE_BYTES)}): ${shares.join(', ') || rest}`;
}

/** Where a key leads from a cell; undefined for a key that leads nowhere. */
export function cellAfter(key: string, cell: number, columns: number, cells: number): number | undefined {
  const steps: Readonly<Record<string, number>> = {
    ArrowLeft: cell - 1,
    ArrowRight: cell + 1,
    ArrowUp: cell - columns,
    ArrowDown: cell + columns,
    PageUp: cell - 8 * columns,
    PageDown: cell + 8 * columns,
    Home: 0,
    End: cells - 1,
  };
  if (!Object.hasOwn(steps, key)) return undefined;
  return Math.min(Math.max(steps[key], 0), cells - 1);
}
