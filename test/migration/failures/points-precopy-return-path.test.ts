/**
 * A precopy with a return path: made to fail at every trace point of its end, cancelled at those of the source’s
 * threads, aborted at those of the destination’s.
 */
import { describe, test } from 'vitest';
import { scenarios } from '../../../testing/failure-scenarios.ts';
import { passedPoints } from '../../../testing/passed-points.ts';
import {
  pointFailures,
  survivesAbort,
  survivesCancel,
  survivesFailure,
  waitingPoints,
} from '../../../testing/point-failures.ts';

const scenario = scenarios['precopy with return path'];
const passed = await passedPoints(scenario);

describe('fails at', () => {
  test.each(pointFailures(scenario, passed))('$title', (failure) => survivesFailure(scenario, failure));
});

describe('cancelled at', () => {
  test.each(waitingPoints(passed, 'source'))('$title', (failure) => survivesCancel(scenario, failure));
});

describe('aborted at', () => {
  test.each(waitingPoints(passed, 'destination'))('$title', (failure) => survivesAbort(scenario, failure));
});
