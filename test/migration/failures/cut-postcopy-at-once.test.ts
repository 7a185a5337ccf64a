/** The connection breaks before what is another message in a postcopy at once than after a pass. */
import { describe, expect, test } from 'vitest';
import { cutPoints, survivesCut } from '../../../testing/cut-points.ts';
import { scenarios } from '../../../testing/failure-scenarios.ts';

const scenario = scenarios['postcopy at once'];
const points = await cutPoints(scenario);

describe(scenario.name, () => {
  test('the table has a point for each kind of message', () => expect(points.length).toBeGreaterThan(4));

  test.each(points)('$title', (cut) => survivesCut(scenario, cut));
});
