/** A list that counts what it does not keep. */
import { expect, test } from 'vitest';
import { BoundedList } from '#lib/inspect/bounded-list.js';

test('keeps the first items and counts the rest', () => {
  const list = new BoundedList<number>(2);
  expect(list.last).toBeUndefined();
  list.add(1);
  list.add(2);
  expect(list.last).toBe(2);
  list.add(3);
  expect(list).toMatchObject({ items: [1, 2], omitted: 1 });
});

test('has no last item once one was left out, so that nothing is folded into another', () => {
  const list = new BoundedList<number>(1);
  list.add(1);
  list.add(2);
  expect(list.last).toBeUndefined();
});
