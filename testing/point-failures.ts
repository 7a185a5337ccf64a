/** Failing, cancelling and aborting at the trace points of a scenario: the tables, and what one entry of them does. */
import { MigrationError } from '#lib/errors.js';
import { Breakpoint } from './breakpoint.ts';
import { type Ending, survives } from './failure-invariants.ts';
import type { Faults, Run, Scenario } from './failure-scenarios.ts';
import type { PassedPoint } from './passed-points.ts';

export interface PointFailure extends PassedPoint {
  /** So many times it is passed before; fewer where a run does not come to that. */
  readonly skip: number;
  readonly title: string;
}

/** Each point at its first time and, where the scenario is gone through thoroughly, the last of those it is passed. */
export function pointFailures({ thorough }: Scenario, passed: readonly PassedPoint[]): PointFailure[] {
  return passed.flatMap((each) => {
    const title = `${each.point} of ${each.thread}`;
    const first = { ...each, skip: 0, title };
    return thorough && each.times > 1 ? [first, { ...each, skip: each.times - 1, title: `${title}, late` }] : [first];
  });
}

/** Each point once, of the threads that a test can make wait: all but its own. */
export function waitingPoints(passed: readonly PassedPoint[], side: 'source' | 'destination'): PointFailure[] {
  return passed
    .filter((each) => each.side === side && each.thread !== 'owner')
    .map((each) => ({ ...each, skip: 0, title: `${each.point} of ${each.thread}` }));
}

/** A point that this run did not come to, though others did, is tried again, and earlier; a few times. */
const TRIES = 4;

type Point = Pick<PointFailure, 'side' | 'point' | 'skip' | 'title'>;

async function untilReached(
  { title, skip }: Point,
  run: (breakpoint: Breakpoint, skip: number) => Promise<Ending>,
): Promise<Ending> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const breakpoint = new Breakpoint();
    const ending = await run(breakpoint, Math.floor((skip * (TRIES - 1 - attempt)) / (TRIES - 1)));
    if (breakpoint.isReached) return ending;
  }
  throw new Error(`${TRIES} runs did not come to ${title}`);
}

function faultsOf(side: 'source' | 'destination', breakpoint: Breakpoint): Faults {
  return side === 'source' ? { atSource: breakpoint } : { atDestination: breakpoint };
}

/** The thread throws there; its side must say so: as its error, as why it paused, or, completed, as a warning. */
export async function survivesFailure(scenario: Scenario, failure: Point): Promise<void> {
  const { side, point } = failure;
  const ending = await untilReached(failure, (breakpoint, skip) => {
    breakpoint.failAt(point, skip);
    return survives(scenario, faultsOf(side, breakpoint));
  });
  const error = side === 'source' ? ending.sourceError : ending.destinationError;
  const said = [...ending.pauses, ...(error === undefined ? ending.warnings : [error])];
  if (!said.some(({ message }) => message.includes(`made to fail at ${point}`))) {
    throw new Error(`the ${side} failed at ${point}, and says: ${error?.stack ?? 'nothing, it completed'}`);
  }
}

/** The breakpoint is reached, or both sides have ended without coming to it. */
async function reachedOrOver(breakpoint: Breakpoint, { outgoing, incoming }: Run): Promise<void> {
  await Promise.race([breakpoint.reached(), Promise.allSettled([outgoing.finished, incoming.finished])]);
}

/** The source is cancelled while its thread stands there: the guest stays, or it was too late and all goes well. */
export async function survivesCancel(scenario: Scenario, failure: Point): Promise<void> {
  let cancelled = false;
  const ending = await untilReached(failure, (breakpoint) => {
    breakpoint.waitAt(failure.point);
    return survives(scenario, { atSource: breakpoint }, async (run) => {
      await reachedOrOver(breakpoint, run);
      cancelled = run.outgoing.cancel();
      breakpoint.release();
    });
  });
  const said = ending.sourceError instanceof MigrationError && ending.sourceError.code === 'CANCELLED';
  if (said !== cancelled || (ending.where === 'source') !== cancelled) {
    throw new Error(`cancel() was ${cancelled}, and the guest is ${ending.where}: ${ending.sourceError?.stack}`);
  }
}

/** The destination is aborted while its thread stands there. */
export async function survivesAbort(scenario: Scenario, failure: Point): Promise<void> {
  await untilReached(failure, (breakpoint) => {
    breakpoint.waitAt(failure.point);
    return survives(scenario, { atDestination: breakpoint }, async (run) => {
      await reachedOrOver(breakpoint, run);
      run.incoming.abort();
      breakpoint.release();
    });
  });
}
