/** The connection breaks before every message of the end of a precopy with a return path. */
import { describe, expect, test } from 'vitest';
import { cutPoints, survivesCut } from '../../../testing/cut-points.ts';
import { scenarios } from '../../../testing/failure-scenarios.ts';

const scenario = scenarios['precopy with return path'];
const points = await cutPoints(scenario);

describe(scenario.name, () => {
  test('the table has a point for each kind of message', () => expect(points.length).toBeGreaterThan(8));

  test.each(points)('$title', (cut) => survivesCut(scenario, cut));
});
