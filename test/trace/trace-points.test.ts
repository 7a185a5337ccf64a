/** The table of trace points: well-formed, and every span opened is closed. */
import { expect, test } from 'vitest';
import { TRACE_VALUES_MAX, type TracePoint, tracePointNames, tracePoints } from '#lib/trace/trace-points.js';

const points: [string, TracePoint][] = tracePointNames.map((name) => [name, tracePoints[name]]);

test.each(points)('%s', (name, { step, values }) => {
  expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
  expect(step).toMatch(/^[SD]\d+(\.\d+)?$/);
  expect(Object.keys(values).length).toBeLessThanOrEqual(TRACE_VALUES_MAX);
});

test('every span that is opened is closed, and the other way round', () => {
  const spans = (phase: 'begin' | 'end') =>
    points.flatMap(([, { span }]) => (span?.[0] === phase ? [span[1]] : [])).sort();
  expect(spans('begin')).toEqual(spans('end'));
});

test('every numbered step has a point', () => {
  const steps = new Set(points.map(([, { step }]) => step.split('.')[0]));
  // S1, the connection, is made before there is a trace; D5, precopy pages, lies within sections; D11, a pause, shows
  // in the statuses of the destination.
  const source = Array.from({ length: 12 }, (_, i) => `S${i + 2}`);
  const destination = ['D1', 'D2', 'D3', 'D4', 'D6', 'D7', 'D8', 'D9', 'D10'];
  expect([...steps].sort()).toEqual([...source, ...destination].sort());
});
