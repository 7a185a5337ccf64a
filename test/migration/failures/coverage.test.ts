/** Every trace point of the engine is one at which something was made to fail, or stands here with the reason. */
import { expect, test } from 'vitest';
import { type TracePointName, tracePointNames } from '#lib/trace/trace-points.js';
import { scenarios } from '../../../testing/failure-scenarios.ts';
import { passedPoints } from '../../../testing/passed-points.ts';

/** Points that not every run of a scenario passes. */
const exceptions: Partial<Record<TracePointName, string>> = {
  migrate_fd_cancel: 'the owner passes it when it is cancelled: points-*.test.ts',
};

test('the scenarios pass all points but the exceptions', async () => {
  const passed = new Set<TracePointName>();
  for (const scenario of Object.values(scenarios)) {
    for (const { point } of await passedPoints(scenario)) passed.add(point);
  }
  expect(tracePointNames.filter((point) => !passed.has(point))).toEqual(Object.keys(exceptions));
});
