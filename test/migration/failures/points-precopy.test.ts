/** A precopy: made to fail at every trace point of its end. */
import { test } from 'vitest';
import { scenarios } from '../../../testing/failure-scenarios.ts';
import { passedPoints } from '../../../testing/passed-points.ts';
import { pointFailures, survivesFailure } from '../../../testing/point-failures.ts';

const scenario = scenarios.precopy;

test.each(pointFailures(scenario, await passedPoints(scenario)))('fails at $title', (failure) =>
  survivesFailure(scenario, failure),
);
