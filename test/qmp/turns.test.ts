/** Turns: in order, one at a time, and the event loop goes round between them. */
import { expect, test } from 'vitest';
import { Turns } from '#lib/qmp/turns.js';

const account = () => ({ spentMs: 0 });

function busyUntilOver(turns: Turns): void {
  while (!turns.isOver);
}

test('are given in the order in which they were asked for', async () => {
  const turns = new Turns();
  const order: number[] = [];
  await Promise.all([1, 2, 3].map((who) => turns.next(account()).then(() => order.push(who))));
  expect(order).toEqual([1, 2, 3]);
});

test('who was served least comes first, however many ask again and again', async () => {
  const turns = new Turns();
  let isAsked = true;
  const busy = Array.from({ length: 20 }, async () => {
    const own = account();
    while (isAsked) {
      await turns.next(own);
      busyUntilOver(turns);
    }
    return own.spentMs;
  });
  const seldom = account();
  let waitedMs = 0;
  for (let asked = 0; asked < 10; asked += 1) {
    const began = performance.now();
    await turns.next(seldom);
    waitedMs += performance.now() - began;
  }
  isAsked = false;
  const spent = await Promise.all(busy);
  // One turn and its rest each time; in their midst it would be twenty, of 20 ms and more.
  expect(waitedMs).toBeLessThan(10 * 150);
  expect(Math.max(...spent)).toBeGreaterThan(0);
});

test('that are used up take no more than a twentieth of the time, whoever asks for them', async () => {
  const turns = new Turns();
  const began = performance.now();
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      await turns.next(account());
      busyUntilOver(turns);
    }),
  );
  expect(performance.now() - began).toBeGreaterThan(18 * 20);
});

test('one that was not costs no more than one round of the event loop', async () => {
  const turns = new Turns();
  await turns.next(account());
  let rounds = 0;
  const turn = turns.next(account());
  let isMine = false;
  void turn.then(() => {
    isMine = true;
  });
  while (!isMine) {
    await new Promise((resolve) => setImmediate(resolve));
    rounds += 1;
  }
  expect(rounds).toBeLessThanOrEqual(2);
});
