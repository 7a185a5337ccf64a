/** What is kept of what the sides tell: never more than a page can show, and nothing that matters lost. */
import { describe, expect, test } from 'vitest';
import type { Run } from '#lib/dashboard/model.js';
import { percentileUs, Recorder } from '#lib/dashboard/recorder.js';
import { latencyBoundsUs } from '#lib/dashboard/snapshot.js';
import { withUpdate } from '#lib/dashboard/view/shown.js';
import { destinationSnapshot, sourceSnapshot } from '../../testing/snapshots.ts';

const runOf = (recorder: Recorder): Run => recorder.model.runs[0];

test('bounds ascend, six a decade', () => {
  expect(latencyBoundsUs.slice(0, 8)).toEqual([5, 7, 10, 15, 20, 30, 50, 70]);
  expect(latencyBoundsUs.at(-1)).toBe(1e7);
  expect(latencyBoundsUs).toEqual([...latencyBoundsUs].sort((a, b) => a - b));
});

test('percentiles lie within the bounds of where they are', () => {
  const counts = latencyBoundsUs.map((bound) => (bound === 100 ? 98 : bound === 5000 ? 2 : 0));
  expect(percentileUs([...counts, 0], 0.5)).toBeGreaterThan(70);
  expect(percentileUs([...counts, 0], 0.5)).toBeLessThanOrEqual(100);
  expect(percentileUs([...counts, 0], 0.99)).toBeGreaterThan(3000);
  expect(percentileUs([...counts, 0], 0.99)).toBeLessThanOrEqual(5000);
  expect(
    percentileUs(
      counts.map(() => 0),
      0.5,
    ),
  ).toBe(0);
});

describe('what a side tells', () => {
  test('is kept with its events and samples; latency is that of the time since', () => {
    const recorder = new Recorder('a test');
    const id = recorder.begin(1000);
    recorder.add(id, sourceSnapshot({ atMs: 1001, transferred: 5 }));
    recorder.add(id, destinationSnapshot({ atMs: 1001, faults: { 100: 3 } }));
    recorder.add(id, destinationSnapshot({ atMs: 1002, faults: { 100: 3, 5000: 1 } }));
    recorder.add(id, destinationSnapshot({ atMs: 1003, faults: { 100: 3, 5000: 1 } }));
    recorder.end(id, { isSuccess: true, text: 'completed' });
    const { source, destination, outcome } = runOf(recorder);
    expect(source?.samples).toEqual([{ atMs: 1001, transferred: 5, remaining: 0, writes: 7 }]);
    const [first, second, third] = destination?.samples ?? [];
    expect(first.latency?.total.p50Us).toBeLessThanOrEqual(100);
    expect(second.latency?.total.p50Us).toBeGreaterThan(3000);
    expect(third.latency).toBeNull();
    expect(outcome?.text).toBe('completed');
  });

  test('the last map stays where a look has none', () => {
    const recorder = new Recorder('a test');
    const id = recorder.begin(0);
    recorder.add(id, sourceSnapshot({ map: [] }));
    recorder.add(id, sourceSnapshot({}));
    expect(runOf(recorder).source?.snapshot.map).toEqual([]);
  });
});

test('the last migrations of a process are kept, and one that is forgotten tells nothing', () => {
  const recorder = new Recorder('a test');
  const ids = Array.from({ length: 10 }, (_, i) => recorder.begin(i));
  expect(recorder.model.runs.map(({ id }) => id)).toEqual(ids.slice(2));
  expect(recorder.add(ids[0], sourceSnapshot({}))).toBeUndefined();
});

test('what is new, put behind what was, is all that is kept', () => {
  const recorder = new Recorder('a test');
  const id = recorder.begin(5);
  let shown = structuredClone(recorder.model);
  for (const snapshot of [
    sourceSnapshot({ atMs: 10, events: [{ atMs: 9, kind: 'status', value: 'setup' }] }),
    destinationSnapshot({ atMs: 11, faults: { 10: 1 } }),
    sourceSnapshot({ atMs: 12, map: [] }),
    destinationSnapshot({ atMs: 13, events: [{ atMs: 12, kind: 'pong', value: 1 }], faults: { 10: 2 } }),
  ]) {
    const update = recorder.add(id, snapshot);
    if (update !== undefined) shown = withUpdate(shown, structuredClone(update));
  }
  expect(shown).toEqual(recorder.model);
});
