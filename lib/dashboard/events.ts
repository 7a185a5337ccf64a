/** The events of a side, of which there are never more than a page can show. Pure, and the same wherever it is done. */
import type { SideEvent } from './snapshot.js';

/** Of more those in the middle are forgotten, as how it began and what was last says most. */
export const EVENTS_MAX = 400;
const FIRST_EVENTS = 100;

/** `fresh` among `before`, by time. */
export function withEvents(before: readonly SideEvent[], fresh: readonly SideEvent[]): readonly SideEvent[] {
  if (fresh.length === 0) return before;
  const all = [...before, ...fresh].sort((one, other) => one.atMs - other.atMs);
  if (all.length <= EVENTS_MAX) return all;
  return [...all.slice(0, FIRST_EVENTS), ...all.slice(FIRST_EVENTS - EVENTS_MAX)];
}
