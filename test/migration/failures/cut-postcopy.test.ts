/** The connection breaks before, and inside, every message of a postcopy after one pass of precopy. */
import { describe, expect, test } from 'vitest';
import { cutPoints, survivesCut } from '../../../testing/cut-points.ts';
import { scenarios } from '../../../testing/failure-scenarios.ts';

const scenario = scenarios['postcopy after a pass'];
const points = await cutPoints(scenario);

describe(scenario.name, () => {
  test('the table has a point for each kind of message', () => expect(points.length).toBeGreaterThan(40));

  test.each(points)('$title', (cut) => survivesCut(scenario, cut));
});
