/** A postcopy at once: made to fail at the trace points that are another matter where nothing was sent before. */
import { test } from 'vitest';
import { scenarios } from '../../../testing/failure-scenarios.ts';
import { passedPoints } from '../../../testing/passed-points.ts';
import { pointFailures, survivesFailure } from '../../../testing/point-failures.ts';

const scenario = scenarios['postcopy at once'];

test.each(pointFailures(scenario, await passedPoints(scenario)))('fails at $title', (failure) =>
  survivesFailure(scenario, failure),
);
