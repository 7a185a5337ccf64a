/**
 * When a precopy would end, or that it never will, and what would make it end: from how the guest writes, what the
 * link carries and the downtime that is allowed. It goes through the passes as the migration thread would
 * (convergence.ts): a pass is sent down to what the downtime limit allows, a sync finds what was written meanwhile.
 *
 * That it never ends mostly has a closed form. In a working set of W pages with r writes a second, of which B are sent
 * a second, W(1 - B/r) pages stay dirty at least, however long it goes on. With a downtime limit below what a PART
 * takes a sync finds up to twice as many, and the passes alone tell. Pure.
 */
import { pageOffset, TARGET_PAGE_SIZE } from '../memory/page.js';
import { type DirtyCurve, pagesWithin } from './dirty-curve.js';

export interface ForecastInput {
  readonly curve: DirtyCurve;
  /** Bytes a second that the link, and `max-bandwidth`, let through. */
  readonly bandwidth: number;
  /** Milliseconds. */
  readonly downtimeLimit: number;
  /** Bytes still to be sent in this pass: all of RAM before the first. */
  readonly remaining: number;
  /** Bytes of RAM. */
  readonly total: number;
}

/** What would make a precopy end that does not. */
export interface Remedies {
  /** The `downtime-limit` in milliseconds with which it would. */
  readonly downtimeLimit: number;
  /** Bytes a second with which it would. */
  readonly bandwidth: number;
  /** The share of the time, in percent, that auto-converge would have to hold the guest back. */
  readonly throttlePercent: number;
  /** Seconds in which a postcopy after this pass would have moved everything. */
  readonly postcopySeconds: number;
}

export interface Forecast {
  readonly converges: boolean;
  /** Seconds until the guest runs at the destination, from now; null where it never does. */
  readonly seconds: number | null;
  /** Passes from now on, this one included; null where it never ends. */
  readonly passes: number | null;
  /** What the downtime would be in the end, or with what stays dirty; milliseconds. */
  readonly downtimeMs: number;
  /** Bytes of pages that the guest writes a second, each as often as it is written. */
  readonly writtenBytesPerSecond: number;
  /** Bytes of different pages that it writes in a second. */
  readonly dirtyBytesPerSecond: number;
  /** Bytes that it writes again and again. */
  readonly workingSetBytes: number;
  /** Bytes a second, as given. */
  readonly bandwidth: number;
  /** Absent where it converges. */
  readonly remedies?: Remedies;
}

/** Seconds by which a PART outlasts the moment in which what is left would fit. */
const OVERSHOOT = 0.025;
/** More passes than any that is worth waiting for. */
const MOST_PASSES = 1000;
/** What a remedy is more than just enough, and by how much it is raised where that is too little. */
const MARGIN = 1.25;
/** How often. */
const REMEDY_STEPS = 16;
/** Percent: what auto-converge holds a guest back at most, and by how much a remedy is raised. */
const MOST_THROTTLE = 99;
const THROTTLE_STEP = 5;

/** Pages that stay dirty in a precopy that goes on for ever; those that a sync finds may be more. */
function staysDirty({ writesPerSecond: r, workingSetPages: w }: DirtyCurve, pagesPerSecond: number): number {
  return r <= pagesPerSecond ? 0 : w * (1 - pagesPerSecond / r);
}

interface Passes {
  readonly ends: boolean;
  readonly passes: number;
  readonly seconds: number;
  /** What is dirty after them. */
  readonly pages: number;
}

/** Goes through the passes until the rest fits into the downtime, or is known to never do. */
function passesOf({ curve, bandwidth, downtimeLimit, remaining, total }: ForecastInput): Passes {
  const sent = bandwidth / TARGET_PAGE_SIZE;
  const allowed = (sent * downtimeLimit) / 1000;
  const rest = staysDirty(curve, sent);
  if (sent === 0 || rest > allowed) return { ends: false, passes: 0, seconds: 0, pages: rest };
  let pages = remaining / TARGET_PAGE_SIZE;
  let among = total / TARGET_PAGE_SIZE;
  let seconds = 0;
  for (let passes = 1; passes <= MOST_PASSES; passes++) {
    // The pass goes on until what is left would fit, and a little longer; then a sync adds what was written.
    const left = Math.min(pages, Math.max(0, allowed - sent * OVERSHOOT));
    const passSeconds = (pages - left) / sent;
    seconds += passSeconds;
    pages = left + pagesWithin(curve, passSeconds) * (1 - Math.min(1, left / Math.max(1, among)));
    if (pages <= Math.max(allowed, 1)) return { ends: true, passes, seconds, pages };
    among = curve.workingSetPages; // from the second pass on, all that is dirty is of it
  }
  return { ends: false, passes: MOST_PASSES, seconds, pages };
}

/** The first of what `more` makes of `value`, again and again, with which it ends; the last that was tried. */
function enough(value: number, more: (value: number) => number, ends: (value: number) => boolean): number {
  let tried = value;
  for (let step = 0; step < REMEDY_STEPS && !ends(tried); step++) tried = more(tried);
  return tried;
}

function remediesFor(input: ForecastInput, rest: number): Remedies {
  const { curve, bandwidth, downtimeLimit, remaining } = input;
  const { writesPerSecond: r, workingSetPages: w } = curve;
  const sent = bandwidth / TARGET_PAGE_SIZE;
  const allowed = (sent * downtimeLimit) / 1000;
  const needed = r / (1 + (r * downtimeLimit) / 1000 / w);
  const throttled = 1 - sent / (1 - Math.min(allowed, w * 0.99) / w) / r;
  const passSeconds = remaining / bandwidth;
  const endsWith = (change: Partial<ForecastInput>): boolean => passesOf({ ...input, ...change }).ends;
  const held = (percent: number): DirtyCurve => ({ ...curve, writesPerSecond: r * (1 - percent / 100) });
  return {
    downtimeLimit: enough(
      Math.ceil((rest / sent) * 1000 * MARGIN),
      (limit) => Math.ceil(limit * MARGIN),
      (limit) => endsWith({ downtimeLimit: limit }),
    ),
    bandwidth: enough(
      Math.ceil(pageOffset(Math.ceil(needed * MARGIN))),
      (more) => Math.ceil(more * MARGIN),
      (more) => endsWith({ bandwidth: more }),
    ),
    throttlePercent: enough(
      Math.min(MOST_THROTTLE, Math.max(1, Math.ceil(throttled * 100 * 1.05))),
      (percent) => Math.min(MOST_THROTTLE, percent + THROTTLE_STEP),
      (percent) => endsWith({ curve: held(percent) }),
    ),
    postcopySeconds: passSeconds + pageOffset(Math.ceil(pagesWithin(curve, passSeconds))) / bandwidth,
  };
}

/** Where nothing is sent at all (a bandwidth of 0), that is never. */
export function forecast(input: ForecastInput): Forecast {
  const { curve, bandwidth } = input;
  const sent = bandwidth / TARGET_PAGE_SIZE;
  const told = {
    writtenBytesPerSecond: pageOffset(Math.round(curve.writesPerSecond)),
    dirtyBytesPerSecond: pageOffset(Math.round(pagesWithin(curve, 1))),
    workingSetBytes: pageOffset(Math.round(curve.workingSetPages)),
    bandwidth,
  };
  const { ends, passes, seconds, pages } = passesOf(input);
  const downtimeMs = sent === 0 ? Number.MAX_SAFE_INTEGER : (Math.max(pages, ends ? 0 : 1) / sent) * 1000;
  if (ends) return { converges: true, seconds: seconds + downtimeMs / 1000, passes, downtimeMs, ...told };
  const never = { converges: false, seconds: null, passes: null, downtimeMs, ...told };
  return sent === 0 ? never : { ...never, remedies: remediesFor(input, pages) };
}
