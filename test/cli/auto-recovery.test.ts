/** The recovery by itself: when it tries, when it gives up, what it says and counts. Time is the test's. */
import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { AutoRecovery, isOfPause, type PausableMigration } from '#lib/cli/auto-recovery.js';
import { MigrationError } from '#lib/errors.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

class Migration extends EventEmitter<{ status: [string] }> implements PausableMigration {
  pauseReason: Error | undefined = new MigrationError('PEER_GONE', 'the connection is lost', { hint: 'wait' });
}

function set({ forMs = 60_000, isHarmless = false, attempt = async (): Promise<void> => {} } = {}) {
  const migration = new Migration();
  const tries: number[] = [];
  const told: string[] = [];
  let gaveUp = 0;
  const recovery = new AutoRecovery(migration, {
    forMs,
    attempt: () => {
      tries.push(performance.now() - begun);
      return attempt();
    },
    giveUp: () => {
      gaveUp += 1;
    },
    isHarmless: () => isHarmless,
    tell: (text) => told.push(text),
  });
  const begun = performance.now();
  const become = (status: string) => migration.emit('status', status);
  return { migration, recovery, tries, told, become, gaveUp: () => gaveUp };
}

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const refused = async (): Promise<never> => {
  throw new MigrationError('CONNECT_REFUSED', 'nobody listens there');
};

test('tries at once, then after 0.1 s, 0.2 s and so on up to 2 s, and gives up in time', async () => {
  const { recovery, tries, told, become, gaveUp } = set({ forMs: 10_000, attempt: refused });
  become('postcopy-paused');
  await pass(9999);
  expect(tries).toEqual([0, 100, 300, 700, 1500, 3100, 5100, 7100, 9100]);
  expect(gaveUp()).toBe(0);
  expect(recovery.look()?.text).toMatch(
    /^paused for 10\.0 s, 9 tries to recover, given up in 1 s: nobody listens there: /,
  );
  await pass(1);
  expect(gaveUp()).toBe(1);
  await pass(100_000);
  expect(tries).toHaveLength(9);
  expect(told).toEqual([
    'paused: the connection is lost: wait',
    expect.stringMatching(/^given up after 10\.0 s: nobody listens there: /),
  ]);
  expect(vi.getTimerCount()).toBe(0);
  become('failed');
  expect(recovery.look()).toBeUndefined();
  expect(recovery.recoveries.count).toBe(0);
});

test('a recovery that comes to nothing is the same pause; one that succeeds ends it', async () => {
  const { recovery, tries, told, become } = set();
  expect(recovery.look()).toBeUndefined();
  become('postcopy-paused');
  await pass(0);
  for (const status of ['postcopy-recover', 'postcopy-paused', 'postcopy-recover']) {
    await pass(500);
    become(status);
  }
  expect(recovery.look()?.mark).toBe(recovery.look()?.mark);
  // Nothing more to do than wait for the source: it listens.
  expect(tries).toEqual([0]);
  become('postcopy-active');
  expect(recovery.look()).toBeUndefined();
  await pass(100_000);
  become('postcopy-paused');
  await pass(250);
  become('postcopy-active');
  expect(recovery.recoveries).toEqual({ count: 2, pausedMs: 1750, longestMs: 1500 });
  expect(tries).toHaveLength(2);
  expect(told[1]).toBe('recovered after 1.5 s');
  expect(vi.getTimerCount()).toBe(0);
});

test('the time of a pause begins with it, however many there were', async () => {
  const { become, gaveUp } = set({ forMs: 1000 });
  for (let pause = 0; pause < 5; pause++) {
    become('postcopy-paused');
    await pass(900);
    become('postcopy-active');
  }
  expect(gaveUp()).toBe(0);
});

test('paused again when a try has just succeeded, it tries for the new pause', async () => {
  let settle = () => {};
  const attempt = () =>
    new Promise<void>((resolve) => {
      settle = resolve;
    });
  const { tries, become, recovery } = set({ attempt });
  become('postcopy-paused');
  await pass(0);
  const first = settle;
  become('postcopy-active');
  become('postcopy-paused');
  first();
  await pass(0);
  expect(tries).toHaveLength(2);
  expect(recovery.look()?.text).toContain(', 1 try to recover');
});

test('given 0 it gives up without a try', async () => {
  const { become, tries, gaveUp } = set({ forMs: 0 });
  become('postcopy-paused');
  await pass(0);
  expect(gaveUp()).toBe(1);
  expect(tries).toEqual([]);
});

test('where nothing is lost by it, it gives up sooner; but tries for a while', async () => {
  const { become, tries, gaveUp } = set({ isHarmless: true, attempt: refused });
  become('postcopy-paused');
  await pass(2999);
  expect(gaveUp()).toBe(0);
  await pass(1000);
  expect(gaveUp()).toBe(1);
  expect(tries).toHaveLength(6);
});

test('its user need not wait; and where nothing is paused, nothing is given up', async () => {
  const { recovery, become, gaveUp } = set();
  recovery.giveUpNow();
  expect(gaveUp()).toBe(0);
  become('postcopy-paused');
  recovery.giveUpNow();
  expect(gaveUp()).toBe(1);
  await pass(100_000);
  expect(gaveUp()).toBe(1);
});

test('the statuses of a pause are told of by no one else', () => {
  for (const status of ['postcopy-paused', 'postcopy-recover-setup', 'postcopy-recover']) {
    expect(isOfPause(status)).toBe(true);
  }
  for (const status of ['active', 'postcopy-device', 'postcopy-active', 'completed', 'failed']) {
    expect(isOfPause(status)).toBe(false);
  }
});

test('a pause that was asked for says so', () => {
  const { migration, become, told } = set();
  migration.pauseReason = undefined;
  become('postcopy-paused');
  expect(told).toEqual(['paused: it was asked to']);
});
