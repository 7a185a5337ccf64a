/**
 * Every trace point of the engine is one at which something is made to fail: on the way of a scenario
 * (points-*.test.ts), after a first failure (here), or it stands below with the reason.
 */
import { describe, expect, test } from 'vitest';
import { type TracePointName, tracePointNames } from '#lib/trace/trace-points.js';
import { Breakpoint } from '../../../testing/breakpoint.ts';
import type { Cut } from '../../../testing/cutting-relay.ts';
import { survives } from '../../../testing/failure-invariants.ts';
import { type Scenario, scenarios } from '../../../testing/failure-scenarios.ts';
import { passedByChance, passedOnce } from '../../../testing/passed-points.ts';

const { 'precopy with return path': precopy, 'postcopy at once': postcopy } = scenarios;
/** Of each scenario, at most, until all points are passed. */
const RUNS = 3;
/** Of any run, however its pages are spread over sections. */
const cut: Cut = { direction: 'stream', message: 'END ram #1', place: 'before', kind: 'close' };

/** Points that are passed only after the connection broke: where it ends the migration, or where that pauses. */
const afterFailure: Partial<Record<TracePointName, Scenario>> = {
  migration_thread_file_err: precopy,
  source_return_path_thread_bad_end: postcopy,
  postcopy_pause: postcopy,
  savevm_send_recv_bitmap: postcopy,
  source_return_path_thread_recv_bitmap: postcopy,
  savevm_send_postcopy_resume: postcopy,
  source_return_path_thread_resume_ack: postcopy,
  postcopy_pause_continued: postcopy,
};

const elsewhere: Partial<Record<TracePointName, string>> = {
  migrate_fd_cancel: 'passed by the owner in cancel(): below',
  migration_throttle: 'passed with auto-converge, which takes seconds to begin: test/source/auto-converge.test.ts',
  ...passedByChance,
  postcopy_ram_removed: 'memory given back while faults are live: test/migration/guest-changes-memory.test.ts',
};

test('the scenarios pass all other points', async () => {
  const passed = new Set(Object.keys({ ...afterFailure, ...elsewhere }) as TracePointName[]);
  const missing = () => tracePointNames.filter((point) => !passed.has(point));
  // On a busy machine a guest may not come to a missing page in each of them.
  for (let run = 0; run < RUNS && missing().length > 0; run += 1) {
    for (const each of Object.values(scenarios)) {
      for (const { point } of (await passedOnce(each)).values()) passed.add(point);
    }
  }
  expect(missing()).toEqual([]);
});

describe('fails again, after the connection broke', () => {
  test.each(Object.entries(afterFailure) as [TracePointName, Scenario][])('at %s', async (point, scenario) => {
    const atSource = new Breakpoint();
    atSource.failAt(point);
    const { sourceError, pauses } = await survives(scenario, { cut, atSource });
    expect(atSource.isReached).toBe(true);
    // As its error; or as why it has paused once more, where that is an end of the connection alone.
    const said = [...pauses, ...(sourceError === undefined ? [] : [sourceError])].map(({ message }) => message);
    if (scenario === postcopy) expect(said.join('\n')).toContain(`made to fail at ${point}`);
    else expect(sourceError).toBeInstanceOf(Error);
  });
});

test('fails at migrate_fd_cancel: whoever cancels is told, and the migration goes on', async () => {
  const atSource = new Breakpoint();
  atSource.failAt('migrate_fd_cancel');
  const { where } = await survives(postcopy, { atSource }, async ({ outgoing }) => {
    expect(() => outgoing.cancel()).toThrow('made to fail at migrate_fd_cancel');
  });
  expect(where).toBe('destination');
});
