/**
 * How many different pages a guest writes in a time: not twice as many in twice the time, as it comes back to pages.
 * The model is a working set of which pages are written at random: of W pages with r writes a second,
 * W(1 - e^(-rt/W)) are dirty after t seconds. Near 0 that is rt, and never more than W. Two windows of different
 * length tell r and W. Pure.
 */

/** A window in which writes were logged, and the different pages that were found written. */
export interface DirtyWindow {
  readonly ms: number;
  readonly pages: number;
}

export interface DirtyCurve {
  /** Writes a second to the working set, each to a page of it; 0 of a guest that writes nothing. */
  readonly writesPerSecond: number;
  /** Pages that are written again and again; the whole RAM where no end of them was seen. */
  readonly workingSetPages: number;
}

/** Nothing is written. */
export const stillCurve: DirtyCurve = { writesPerSecond: 0, workingSetPages: 0 };

/** Different pages that are written within that time. */
export function pagesWithin({ writesPerSecond, workingSetPages }: DirtyCurve, seconds: number): number {
  if (workingSetPages === 0) return 0;
  return workingSetPages * -Math.expm1((-writesPerSecond * seconds) / workingSetPages);
}

/** Writes to each page of the working set in a window, beyond which windows no longer tell how many. */
const SATURATED = 6;
/** Below this many, a working set is not seen to have an end. */
const UNSEEN = 0.02;
const STEPS = 60;

/**
 * The curve through two windows, of which the second is the longer one by a factor of 1.5 at least; else through the
 * longer, with a working set of which all is written in it: what a migration sees that makes no headway.
 * `totalPages`: of the whole RAM.
 */
export function fitDirtyCurve(windows: readonly DirtyWindow[], totalPages: number): DirtyCurve | undefined {
  const [short, long] = [...windows].filter(({ ms }) => ms > 0).sort((a, b) => a.ms - b.ms);
  if (short === undefined) return undefined;
  if (long === undefined || long.ms < short.ms * 1.5) return through(long ?? short, SATURATED / 2, totalPages);
  const times = long.ms / short.ms;
  const ratio = long.pages / Math.max(1, short.pages);
  // By writes to a page in the short window: how much more is found in the long one. It falls as x rises.
  let low = UNSEEN;
  let high = SATURATED;
  for (let step = 0; step < STEPS; step++) {
    const x = (low + high) / 2;
    if (Math.expm1(-x * times) / Math.expm1(-x) > ratio) low = x;
    else high = x;
  }
  return low === UNSEEN ? through(long, 0, totalPages) : through(long, low * times, totalPages);
}

/** The curve in which each page of the working set is written `x` times in that window; 0 is a set without end. */
function through({ ms, pages }: DirtyWindow, x: number, totalPages: number): DirtyCurve {
  if (pages === 0) return stillCurve;
  const seconds = ms / 1000;
  const fitted = x === 0 ? totalPages : pages / -Math.expm1(-x);
  if (fitted < totalPages) return { writesPerSecond: (x * fitted) / seconds, workingSetPages: fitted };
  // All of RAM, and so many writes to it that this many are different.
  const share = Math.min(pages / totalPages, 1 - Math.exp(-SATURATED));
  return { writesPerSecond: (-Math.log1p(-share) * totalPages) / seconds, workingSetPages: totalPages };
}
