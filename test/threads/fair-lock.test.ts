/** The fair lock: one holder at a time, each in its turn. */
import { expect, test } from 'vitest';
import { FairLock } from '#lib/threads/fair-lock.js';
import { onLibThread } from '../../testing/lib-thread.ts';

interface Modules {
  readonly lock: typeof import('#lib/threads/fair-lock.js');
}
const modules = { lock: '#lib/threads/fair-lock.js' } as const;

test('an uncontended lock is taken and released any number of times, past the wrap of its tickets', () => {
  const buffer = new SharedArrayBuffer(8);
  new Int32Array(buffer).fill(2 ** 31 - 3);
  const lock = new FairLock(buffer);
  for (let i = 0; i < 6; i += 1) {
    lock.acquire();
    lock.release();
  }
  expect([...new Int32Array(buffer)]).toEqual([-(2 ** 31) + 3, -(2 ** 31) + 3]);
});

test('threads never hold it together, and no increment is lost', async () => {
  const rounds = 20_000;
  const data = { lock: new FairLock().buffer, counter: new SharedArrayBuffer(8), rounds };
  const threads = ['a', 'b', 'c'].map((name) =>
    onLibThread(`test/lock-${name}`, modules, data, ({ lock: { FairLock } }: Modules, data) => {
      const lock = new FairLock(data.lock);
      const words = new Int32Array(data.counter);
      let together = 0;
      for (let i = 0; i < data.rounds; i += 1) {
        lock.acquire();
        if (Atomics.add(words, 1, 1) !== 0) together += 1;
        words[0] += 1;
        Atomics.sub(words, 1, 1);
        lock.release();
      }
      return together;
    }),
  );
  expect(await Promise.all(threads.map(({ result }) => result))).toEqual([0, 0, 0]);
  expect(new Int32Array(data.counter)[0]).toBe(3 * rounds);
});

test('who has waited comes before who releases and asks again', async () => {
  const lock = new FairLock();
  const words = new SharedArrayBuffer(4);
  lock.acquire();
  const waiter = onLibThread(
    'test/lock-wait',
    modules,
    { lock: lock.buffer, words },
    ({ lock: { FairLock } }: Modules, data, aboutToWait) => {
      const lock = new FairLock(data.lock);
      aboutToWait();
      lock.acquire();
      Atomics.store(new Int32Array(data.words), 0, 1);
      lock.release();
    },
  );
  await waiter.waits();
  const again = onLibThread(
    'test/lock-again',
    modules,
    { lock: lock.buffer, words },
    ({ lock: { FairLock } }: Modules, data) => {
      const lock = new FairLock(data.lock);
      lock.release(); // on behalf of the test, whose own thread must not wait
      lock.acquire();
      const waiterWasFirst = Atomics.load(new Int32Array(data.words), 0) === 1;
      lock.release();
      return waiterWasFirst;
    },
  );
  expect(await again.result).toBe(true);
  await waiter.result;
});
