/** What becomes of a machine that is lost at the destination: said, kept, let go of, in that order. */
import { expect, test } from 'vitest';
import { type LossPolicy, LostMachine } from '#lib/cli/lost-machine.js';
import type { IncomingMigration } from '#lib/destination/incoming.js';
import { MigrationError } from '#lib/errors.js';
import type { MachineSaver } from '#lib/machine/machine-saver.js';

const givenUp = new MigrationError('CONNECT_FAILED', 'given up');
const cancelled = new MigrationError('CANCELLED', 'ended');

/** A migration and a saver that write down what they are asked for. */
function set(policy: LossPolicy, { keeps = true, missing = 7, poisons = true, saves = true } = {}) {
  const directory = keeps ? '/dir' : undefined;
  const did: string[] = [];
  const incoming = {
    uri: 'unix:/m',
    received: [],
    info: () => ({ lost: missing > 0 ? { missingPages: missing } : undefined }),
    giveUp: (how: string) => {
      if (how === 'poison' && !poisons) throw new MigrationError('KERNEL_TOO_OLD', 'this kernel can not poison');
      did.push(how);
      return true;
    },
    abandon: () => did.push('abandon'),
  };
  const saver = {
    keepHalf: async (_received: unknown, peer: object) => {
      expect(peer).toEqual({ uri: 'unix:/m', postcopy: true });
      if (!saves) throw new MigrationError('SAVE_FAILED', 'no room');
      did.push('keep');
      return directory;
    },
  };
  const told: string[] = [];
  const options = { policy, directory, tell: (text: string) => told.push(text) };
  const lost = new LostMachine(incoming as unknown as IncomingMigration, saver as unknown as MachineSaver, options);
  return { lost, did, told };
}

const never = () => new AbortController().signal;

test('exit: frozen, kept, let go of', async () => {
  const { lost, did, told } = set('exit', {});
  await lost.giveUp();
  await lost.settle(givenUp, never());
  expect(did).toEqual(['freeze', 'keep', 'abandon']);
  expect(lost.isKept).toBe(true);
  expect(told).toEqual([
    'the machine had been handed over and is lost: 7 of its pages had not come',
    expect.stringMatching(/saved in \/dir; .*\n {2}postcopy reconcile \/dir SOURCE_DIR --out DIR$/),
  ]);
});

test('freeze: it stays as it is until it is interrupted', async () => {
  const { lost, did, told } = set('freeze', {});
  await lost.giveUp();
  const interrupt = new AbortController();
  const settled = lost.settle(givenUp, interrupt.signal);
  await new Promise((resolve) => setImmediate(resolve));
  expect(did).toEqual(['freeze', 'keep']);
  expect(told.at(-1)).toMatch(/frozen.*until Ctrl-C/);
  interrupt.abort();
  await settled;
  expect(did).toEqual(['freeze', 'keep', 'abandon']);
});

test('freeze, interrupted already: it ends', async () => {
  for (const [error, signal] of [
    [cancelled, never()],
    [givenUp, AbortSignal.abort()],
  ] as const) {
    const { lost, did } = set('freeze', {});
    await lost.settle(error, signal);
    expect(did).toEqual(['keep', 'abandon']);
  }
});

test('poison: kept before, as who reads RAM here does not survive it, and once only', async () => {
  const { lost, did } = set('poison', {});
  await lost.giveUp();
  expect(did).toEqual(['keep', 'poison']);
  await lost.settle(givenUp, never());
  expect(did).toEqual(['keep', 'poison', 'abandon']);
});

test('poison where the kernel has none: said, and frozen', async () => {
  const { lost, did, told } = set('poison', { poisons: false });
  await lost.giveUp();
  expect(did).toEqual(['keep', 'freeze']);
  expect(told.at(-1)).toMatch(/^this kernel can not poison/);
});

test('nowhere to keep it, or no room: the rest is done all the same', async () => {
  for (const options of [{ keeps: false }, { saves: false }]) {
    const { lost, did, told } = set('exit', options);
    await lost.settle(givenUp, never());
    expect(did.filter((what) => what !== 'keep')).toEqual(['abandon']);
    expect(lost.isKept).toBe(false);
    expect(told.some((text) => text.startsWith('no room'))).toBe('saves' in options);
  }
});

test('where nothing is lost, nothing is kept', async () => {
  const { lost, did, told } = set('freeze', { missing: 0 });
  await lost.settle(givenUp, never());
  expect(did).toEqual(['abandon']);
  expect(told).toEqual([]);
});
