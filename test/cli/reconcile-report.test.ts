/** What `postcopy reconcile` says of a machine that it made. */
import { expect, test } from 'vitest';
import { reconcileLook, reconcileReport, reconcileText } from '#lib/cli/reconcile-report.js';

const blocks = [
  { idstr: 'pc.ram', length: 8192, sha256: 'ab'.repeat(32), fromDestination: 2000, fromSource: 1 },
  { idstr: 'rom', length: 4096, sha256: 'cd'.repeat(32), fromDestination: 0, fromSource: 1 },
];
const made = { machine: 'pc', runState: 'running', blocks, deviceStateBytes: 77, directory: '/run/whole' };

test('the JSON', () => {
  expect(reconcileReport(made, 12)).toEqual({
    ...{ machine: 'pc', runState: 'running', blocks, deviceStateBytes: 77, totalTimeMs: 12, saved: '/run/whole' },
    pages: { fromDestination: 2000, fromSource: 2 },
  });
  expect(reconcileReport({ ...made, runState: undefined }, 12).runState).toBeNull();
});

test('the lines', () => {
  const lines = reconcileText(reconcileReport(made, 12)).split('\n');
  expect(lines).toEqual([
    'machine      pc, running when it was stopped',
    'RAM          12 KiB in 2 blocks',
    'pages        2,000 of the destination, 2 of the source',
    'total time   12 ms',
    'saved        /run/whole',
    `block        ${'ab'.repeat(32)}  pc.ram  8192`,
    `block        ${'cd'.repeat(32)}  rom  4096`,
  ]);
});

test('the line while it writes', () => {
  expect(reconcileLook(2 ** 20, 2 ** 22, 2 ** 20)).toEqual({
    text: 'writing RAM: 1.0 MiB of 4.0 MiB (25 %), 1.0 MiB/s, 3 s left',
    mark: String(2 ** 20),
  });
  expect(reconcileLook(0, 0, 0).text).toBe('writing RAM: 0 B of 0 B, 0 B/s');
});
