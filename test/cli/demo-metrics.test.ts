/** The demo's metrics, from what its sides report. */
import { expect, test } from 'vitest';
import type { SideProgress } from '#lib/cli/demo-messages.js';
import { DemoMetrics } from '#lib/cli/demo-metrics.js';
import { destinationDone, sourceDone } from '../../testing/demo-parts.ts';

const source: SideProgress = { ...sourceDone, passes: 0 };
const destination: SideProgress = { side: 'destination', info: destinationDone.info, guest: undefined };

test('are of the last report of each side, which is shown as well', () => {
  const metrics = new DemoMetrics();
  const shown: SideProgress[] = [];
  const progress = metrics.hearing({
    doing: () => {},
    progress: (each) => shown.push(each),
    event: () => {},
    end: () => {},
  });
  expect(metrics.look()).toEqual({});
  progress.progress({ ...source, info: { ...sourceDone.info, status: 'postcopy-paused' } });
  progress.progress(source);
  progress.progress(destination);
  expect(shown).toHaveLength(3);
  const look = metrics.look();
  expect(look.source?.info).toBe(sourceDone.info);
  expect(look.source?.pauses.pauses).toBe(1);
  expect(look.destination?.info).toBe(destinationDone.info);
});
