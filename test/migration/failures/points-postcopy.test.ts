/**
 * A postcopy after one pass: made to fail at every trace point it passes, cancelled at every
 * point of the source’s threads, aborted at every point of the destination’s.
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

const scenario = scenarios['postcopy after a pass'];
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
