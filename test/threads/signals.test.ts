/** Signals: words by name, and threads that wait for them. */
import { expect, test } from 'vitest';
import { Signals } from '#lib/threads/signals.js';
import { onLibThread } from '../../testing/lib-thread.ts';

const names = ['STATE', 'ATTENTION'] as const;

function waiter(signals: Signals<(typeof names)[number]>, value: number) {
  return onLibThread(
    'test/waiter',
    { signals: '#lib/threads/signals.js' },
    { buffer: signals.buffer, names, value },
    (lib: { signals: typeof import('#lib/threads/signals.js') }, data, aboutToWait) => {
      const mine = new lib.signals.Signals(data.names, data.buffer);
      aboutToWait();
      mine.waitWhile('STATE', data.value);
      return mine.get('STATE');
    },
  );
}

test('start at 0, and are set each for itself', () => {
  const signals = new Signals(names);
  signals.set('ATTENTION', 7);
  signals.bump('ATTENTION');
  signals.count('ATTENTION');
  expect([signals.get('STATE'), signals.get('ATTENTION')]).toEqual([0, 9]);
});

test('exchange changes a word only from the value it is said to have', () => {
  const signals = new Signals(names);
  expect(signals.exchange('STATE', 1, 2)).toBe(false);
  expect(signals.get('STATE')).toBe(0);
  expect(signals.exchange('STATE', 0, 2)).toBe(true);
  expect(signals.exchange('STATE', 0, 3)).toBe(false);
  expect(signals.get('STATE')).toBe(2);
});

test.each<[string, (signals: Signals<(typeof names)[number]>) => void, number]>([
  ['set', (signals) => signals.set('STATE', 5), 5],
  ['bump', (signals) => signals.bump('STATE'), 1],
  ['exchange', (signals) => signals.exchange('STATE', 0, 9), 9],
])('%s wakes a thread that waits on the word', async (_what, change, value) => {
  const signals = new Signals(names);
  const thread = waiter(signals, 0);
  await thread.waits();
  signals.bump('ATTENTION'); // none of its business
  change(signals);
  expect(await thread.result).toBe(value);
});

test('a thread does not wait for what has changed already', async () => {
  const signals = new Signals(names);
  signals.set('STATE', 3);
  expect(await waiter(signals, 0).result).toBe(3);
});

test('a wait with a time limit ends without a change', async () => {
  const signals = new Signals(names);
  const waited = await onLibThread(
    'test/patience',
    { signals: '#lib/threads/signals.js' },
    { buffer: signals.buffer, names },
    (lib: { signals: typeof import('#lib/threads/signals.js') }, data) => {
      new lib.signals.Signals(data.names, data.buffer).waitWhile('STATE', 0, 5);
      return 'over';
    },
  ).result;
  expect(waited).toBe('over');
});
