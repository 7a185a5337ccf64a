/** Counters by name, over memory that another thread reads. */
import { expect, test } from 'vitest';
import { Counters } from '#lib/threads/counters.js';
import { onLibThread } from '../../testing/lib-thread.ts';

const names = ['sent', 'received', 'lost'] as const;

test('start at 0, and count each for itself', () => {
  const counters = new Counters(names);
  expect(counters.snapshot()).toEqual({ sent: 0, received: 0, lost: 0 });
  counters.add('received', 5);
  counters.add('received', 2);
  counters.set('lost', 2 ** 52);
  expect(counters.snapshot()).toEqual({ sent: 0, received: 7, lost: 2 ** 52 });
  expect(counters.get('received')).toBe(7);
});

test('one thread counts, another reads, and never sees half a number', async () => {
  const counters = new Counters(names);
  // Two values that differ in both halves: a mixture would be a third one.
  const values = [0x0000000100000001, 0x000fffff00000000] as const;
  const stop = new SharedArrayBuffer(4);
  const writer = onLibThread(
    'test/counter',
    { counters: '#lib/threads/counters.js' },
    { buffer: counters.buffer, names, values, stop },
    (lib: { counters: typeof import('#lib/threads/counters.js') }, data) => {
      const mine = new lib.counters.Counters(data.names, data.buffer);
      const ended = new Int32Array(data.stop);
      let rounds = 0;
      for (; Atomics.load(ended, 0) === 0; rounds += 1) mine.set('sent', data.values[rounds & 1]);
      return rounds;
    },
  );
  const seen = new Set<number>();
  while (seen.size < 2) {
    for (let i = 0; i < 100_000; i += 1) {
      const value = counters.get('sent');
      if (value !== 0) seen.add(value);
    }
    await new Promise(setImmediate);
  }
  Atomics.store(new Int32Array(stop), 0, 1);
  expect(await writer.result).toBeGreaterThan(0);
  expect([...seen].sort((a, b) => a - b)).toEqual([...values]);
});
