/** What the demo's parent sees of a side: what it asks for, and the side's last word. */
import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { lookAt } from '#lib/cli/demo-look.js';
import type { ToSide } from '#lib/cli/demo-messages.js';
import { sourceSnapshot } from '../../testing/snapshots.ts';

class FakeChild extends EventEmitter {
  connected = true;
  readonly asked: ToSide[] = [];
  send(message: ToSide): boolean {
    this.asked.push(message);
    return true;
  }
}

const made = () => {
  const child = new FakeChild();
  return { child, look: lookAt(child as unknown as Parameters<typeof lookAt>[0]) };
};

test('asks, and is answered', async () => {
  const { child, look } = made();
  const seen = look({ map: true });
  expect(child.asked).toEqual([{ kind: 'look', map: true }]);
  child.emit('message', { kind: 'doing', what: 'something else' });
  child.emit('message', { kind: 'look', snapshot: sourceSnapshot({ atMs: 3 }) });
  expect(await seen).toMatchObject({ atMs: 3 });
  const nothing = look({ map: false });
  child.emit('message', { kind: 'look', snapshot: null });
  expect(await nothing).toBeUndefined();
});

test('the last word is kept for who looks later; then there is nothing to see', async () => {
  const { child, look } = made();
  child.emit('message', { kind: 'look', snapshot: sourceSnapshot({ atMs: 9 }) });
  child.connected = false;
  expect(await look({ map: true })).toMatchObject({ atMs: 9 });
  expect(await look({ map: true })).toBeUndefined();
  expect(child.asked).toEqual([]);
});

test('a side that ends instead of answering is not waited for', async () => {
  const { child, look } = made();
  const seen = look({ map: false });
  child.emit('exit');
  expect(await seen).toBeUndefined();
});
