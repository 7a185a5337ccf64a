/** Turns: in order, one at a time, and the event loop goes round between them. */
import { expect, test } from 'vitest';
import { Turns } from '#lib/qmp/turns.js';

function busyUntilOver(turns: Turns): void {
  while (!turns.isOver);
}

test('are given in the order in which they were asked for', async () => {
  const turns = new Turns();
  const order: number[] = [];
  await Promise.all([1, 2, 3].map((who) => turns.next().then(() => order.push(who))));
  expect(order).toEqual([1, 2, 3]);
});

test('that are used up take no more than a quarter of the time, whoever asks for them', async () => {
  const turns = new Turns();
  const began = performance.now();
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      await turns.next();
      busyUntilOver(turns);
    }),
  );
  expect(performance.now() - began).toBeGreaterThan(18 * 4);
});

test('one that was not costs no more than one round of the event loop', async () => {
  const turns = new Turns();
  await turns.next();
  let rounds = 0;
  const turn = turns.next();
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
