/** The rehearsal of the migration thread: a whole postcopy with nobody at the other end, and nothing left of it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { native } from '#lib/native.js';
import { migrationStatuses } from '#lib/source/migration-state.js';
import { rehearse, rehearsedCalls } from '#lib/source/rehearsal.js';
import type { MigrationThreadData, SourceOwnerCalls } from '#lib/source/source-context.js';
import { createSourceSignals } from '#lib/source/source-signals.js';
import { type Owner, parkThread } from '#lib/threads/thread.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads } from '../../testing/native-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => {
  expect(leaks()).toEqual({});
});

const entry = new URL('./migration-thread.bundle.cjs', import.meta.resolve('#lib/source/rehearsal.js'));

const owner = {} as Owner<SourceOwnerCalls>;
const never = () => false;

test('the thread goes through all of it, and has the owner stop and save each time', async () => {
  const asked: string[] = [];
  const { stopGuest, saveGuest } = rehearsedCalls();
  const parked = parkThread(
    { name: 'test/rehearsal', entry },
    {
      stopGuest: () => {
        asked.push('stop');
        return stopGuest(undefined);
      },
      saveGuest: () => {
        asked.push('save');
        return saveGuest(undefined);
      },
    },
  );
  expect(await parked.parked).toBeUndefined();
  await parked.close();
  expect(countThreads('test/rehearsal')).toBe(0);
  expect(asked.length).toBeGreaterThan(2);
  expect(asked.join(' ')).toMatch(/^(stop save ?)+$/);
});

test('one that does not come to its end says where it stood', () => {
  expect(() => rehearse(owner, never, () => {})).toThrow('the rehearsal ended in status setup');
});

test('what is thrown in it leaves nothing open', () => {
  const run = ({ signals, blocks }: MigrationThreadData): never => {
    expect(createSourceSignals(signals).get('START_POSTCOPY')).toBe(1);
    expect(native().ramBlockInfo(blocks[0].handle).address).toBe(blocks[0].address);
    throw new Error('something is wrong');
  };
  expect(() => rehearse(owner, never, run)).toThrow('something is wrong');
});

test('there is no other round once there is work', () => {
  let rounds = 0;
  const run = ({ status }: MigrationThreadData): void => {
    rounds += 1;
    new Int32Array(status)[0] = migrationStatuses.indexOf('completed');
  };
  rehearse(owner, () => rounds === 1, run);
  expect(rounds).toBe(1);
});
