/** Which trace points a run passes, on which thread, and how often: what a table of failures at them is made from. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type TracePointName, tracePointNames, tracePoints } from '#lib/trace/trace-points.js';
import type { TraceMessage } from '#lib/trace/trace-session.js';
import { cleanRun } from './clean-run.ts';
import type { Scenario } from './failure-scenarios.ts';

export interface PassedPoint {
  readonly point: TracePointName;
  readonly side: 'source' | 'destination';
  /** Of the owner too, which is the thread of the test. */
  readonly thread: string;
  /** How often at least, in a run. */
  readonly times: number;
}

/** Points that a run comes to by chance, with what they say of it; no table may rely on them. */
export const passedByChance: Partial<Record<TracePointName, string>> = {
  get_queued_page_not_dirty: 'a page was sent while its request was on its way (test/source/page-search.test.ts)',
  postcopy_request_shared_page_present: 'a received page faults (test/migration/guest-changes-memory.test.ts)',
};

/** Runs that a point must be passed in, to be one that a run surely comes to. */
const CLEAN_RUNS = 2;

/** Runs the scenario whole, and says what of its own it passed, by thread and point. No other migration may run. */
export async function passedOnce(scenario: Scenario): Promise<ReadonlyMap<string, PassedPoint>> {
  const passed = new Map<string, PassedPoint>();
  const listener = (message: unknown): void => {
    const { name, side, thread } = message as TraceMessage;
    if (!scenario.ownSteps.test(tracePoints[name as TracePointName].step)) return;
    const key = `${thread} ${name}`;
    const times = (passed.get(key)?.times ?? 0) + 1;
    passed.set(key, { point: name as TracePointName, side, thread, times });
  };
  for (const name of tracePointNames) subscribe(`postcopy:${name}`, listener);
  try {
    await cleanRun(scenario, () => {
      passed.clear();
      return async () => {};
    });
  } finally {
    for (const name of tracePointNames) unsubscribe(`postcopy:${name}`, listener);
  }
  return passed;
}

/** Runs the scenario whole a few times, and lists the points of its own that every run passed. No other may run. */
export async function passedPoints(scenario: Scenario): Promise<PassedPoint[]> {
  const runs: ReadonlyMap<string, PassedPoint>[] = [];
  for (let run = 0; run < CLEAN_RUNS; run += 1) runs.push(await passedOnce(scenario));
  const [first, ...others] = runs;
  return [...first].flatMap(([key, passed]) => {
    const times = Math.min(passed.times, ...others.map((run) => run.get(key)?.times ?? 0));
    return times === 0 || passed.point in passedByChance ? [] : [{ ...passed, times }];
  });
}
