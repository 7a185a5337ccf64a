/** The source's states: every step from every state, and two threads that want different ones. */
import { describe, expect, test } from 'vitest';
import {
  isCancellable,
  isFinal,
  isSetupOrActive,
  MigrationStateCell,
  type MigrationStatus,
  migrationStatuses,
  migrationTransitions,
} from '#lib/source/migration-state.js';
import { onLibThread } from '../../testing/lib-thread.ts';

/** Every legal step. In postcopy the guest runs elsewhere, so there is no way to cancelling once it was told to run. */
const legal: ReadonlySet<string> = new Set([
  'none setup',
  'setup active',
  'setup cancelling',
  'setup failed',
  'active postcopy-active',
  'active postcopy-device',
  'active device',
  'active cancelling',
  'active failed',
  'device completed',
  'device failed',
  'postcopy-device postcopy-active',
  'postcopy-device cancelling',
  'postcopy-device failed',
  'postcopy-active completed',
  'postcopy-active postcopy-paused',
  'postcopy-active failed',
  'postcopy-paused postcopy-recover-setup',
  'postcopy-paused completed',
  'postcopy-paused failed',
  'postcopy-recover-setup postcopy-recover',
  'postcopy-recover-setup postcopy-paused',
  'postcopy-recover-setup completed',
  'postcopy-recover-setup failed',
  'postcopy-recover postcopy-active',
  'postcopy-recover postcopy-paused',
  'postcopy-recover completed',
  'postcopy-recover failed',
  'cancelling cancelled',
]);

const paused = ['setup', 'active', 'postcopy-active', 'postcopy-paused'] as const;

/** A way to each status by legal steps. */
const wayTo: Readonly<Record<MigrationStatus, readonly MigrationStatus[]>> = {
  none: [],
  setup: ['setup'],
  active: ['setup', 'active'],
  'postcopy-device': ['setup', 'active', 'postcopy-device'],
  'postcopy-active': ['setup', 'active', 'postcopy-active'],
  'postcopy-paused': paused,
  'postcopy-recover-setup': [...paused, 'postcopy-recover-setup'],
  'postcopy-recover': [...paused, 'postcopy-recover-setup', 'postcopy-recover'],
  device: ['setup', 'active', 'device'],
  completed: ['setup', 'active', 'device', 'completed'],
  cancelling: ['setup', 'cancelling'],
  cancelled: ['setup', 'cancelling', 'cancelled'],
  failed: ['setup', 'failed'],
};

function cellIn(status: MigrationStatus): MigrationStateCell {
  const cell = new MigrationStateCell();
  for (const next of wayTo[status]) expect(cell.move(cell.status, next)).toBe(true);
  expect(cell.status).toBe(status);
  return cell;
}

describe.each(migrationStatuses)('from %s', (from) => {
  test.each(migrationStatuses)('to %s', (to) => {
    const cell = cellIn(from);
    if (legal.has(`${from} ${to}`)) {
      expect(cell.move(from, to)).toBe(true);
      expect(cell.status).toBe(to);
    } else {
      expect(() => cell.move(from, to)).toThrow(RangeError);
      expect(cell.status).toBe(from);
    }
  });

  test('is left alone by who thinks it is another', () => {
    for (const other of migrationStatuses.filter((status) => status !== from)) {
      for (const to of migrationTransitions[other]) {
        const cell = cellIn(from);
        expect(cell.move(other, to)).toBe(false);
        expect(cell.status).toBe(from);
      }
    }
  });
});

test('final are the states that nothing follows', () => {
  expect(migrationStatuses.filter(isFinal)).toEqual(['completed', 'cancelled', 'failed']);
});

test('under way are those that neither have ended nor are asked to', () => {
  expect(migrationStatuses.filter(isSetupOrActive)).toEqual([
    'setup',
    'active',
    'device',
    'postcopy-device',
    'postcopy-active',
    'postcopy-paused',
    'postcopy-recover-setup',
    'postcopy-recover',
  ]);
});

test('there is a way to cancel until the guest is handed over', () => {
  expect(migrationStatuses.filter(isCancellable)).toEqual(['setup', 'active', 'postcopy-device']);
});

test('of two threads that hand over and cancel at the same moment exactly one has its way', async () => {
  const CELLS = 5000;
  const cells = Array.from({ length: CELLS }, () => cellIn('active'));
  const gate = new SharedArrayBuffer(4 * (CELLS + 1));
  const movers = (['device', 'cancelling'] as const).map((to) =>
    onLibThread(
      'test/mover',
      { state: '#lib/source/migration-state.js' },
      { buffers: cells.map(({ buffer }) => buffer), gate, to },
      (lib: { state: typeof import('#lib/source/migration-state.js') }, data) => {
        const arrived = new Int32Array(data.gate);
        const mine = data.buffers.map((buffer) => new lib.state.MigrationStateCell(buffer));
        return mine.map((cell, index) => {
          // Both leave the gate of each cell together.
          Atomics.add(arrived, index, 1);
          while (Atomics.load(arrived, index) < 2);
          return cell.move('active', data.to);
        });
      },
    ),
  );
  const [handing, cancelled] = await Promise.all(movers.map(({ result }) => result));
  for (const [index, cell] of cells.entries()) {
    expect([handing[index], cancelled[index], cell.status]).toEqual(
      handing[index] ? [true, false, 'device'] : [false, true, 'cancelling'],
    );
  }
});
