/**
 * Every trace point of the engine is one at which something is made to fail: on the way of a scenario
 * (points-*.test.ts), after a first failure (here), or it stands below with the reason.
 */
import { describe, expect, test } from 'vitest';
import { type TracePointName, tracePointNames } from '#lib/trace/trace-points.js';
import { Breakpoint } from '../../../testing/breakpoint.ts';
import type { Cut } from '../../../testing/cutting-relay.ts';
import { survives } from '../../../testing/failure-invariants.ts';
import { scenarios } from '../../../testing/failure-scenarios.ts';
import { passedByChance, passedOnce } from '../../../testing/passed-points.ts';

/** Points that are passed after a failure only. */
const afterFailure: readonly TracePointName[] = ['migration_thread_file_err', 'source_return_path_thread_bad_end'];

const elsewhere: Partial<Record<TracePointName, string>> = {
  migrate_fd_cancel: 'passed by the owner in cancel(): below',
  migration_throttle: 'passed with auto-converge, which takes seconds to begin: test/source/auto-converge.test.ts',
  ...passedByChance,
  postcopy_ram_removed: 'memory given back while faults are live: test/migration/guest-changes-memory.test.ts',
};

const scenario = scenarios['postcopy at once'];
const cut: Cut = { direction: 'stream', message: 'page #2 of PART ram #1', place: 'before', kind: 'close' };

test('the scenarios pass all other points', async () => {
  const passed = new Set<TracePointName>([...afterFailure, ...(Object.keys(elsewhere) as TracePointName[])]);
  for (const each of Object.values(scenarios)) {
    for (const { point } of (await passedOnce(each)).values()) passed.add(point);
  }
  expect(tracePointNames.filter((point) => !passed.has(point))).toEqual([]);
});

describe('fails again, after the connection broke', () => {
  test.each(afterFailure)('at %s', async (point) => {
    const atSource = new Breakpoint();
    atSource.failAt(point);
    const { sourceError } = await survives(scenario, { cut, atSource });
    expect(atSource.isReached).toBe(true);
    expect(sourceError).toBeInstanceOf(Error);
  });
});

test('fails at migrate_fd_cancel: whoever cancels is told, and the migration goes on', async () => {
  const atSource = new Breakpoint();
  atSource.failAt('migrate_fd_cancel');
  const { where } = await survives(scenario, { atSource }, async ({ outgoing }) => {
    expect(() => outgoing.cancel()).toThrow('made to fail at migrate_fd_cancel');
  });
  expect(where).toBe('destination');
});
