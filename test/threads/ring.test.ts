/** The ring against an array, over the wrap of its positions, and between two threads. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Ring } from '#lib/threads/ring.js';
import { onLibThread } from '../../testing/lib-thread.ts';

const modules = { ring: '#lib/threads/ring.js' };
type Modules = { ring: typeof import('#lib/threads/ring.js') };

/** Sets both positions of an empty ring, to begin close to where they wrap. */
function startAt(ring: Ring, position: number): void {
  new Int32Array(ring.buffer).fill(position | 0, 0, 2);
}

test('gives records back first-in first-out, also where positions wrap (property)', () => {
  const start = fc.constantFrom(0, 2 ** 31 - 2, 2 ** 32 - 3);
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 4, 8),
      fc.integer({ min: 1, max: 4 }),
      start,
      fc.array(fc.boolean(), { maxLength: 60 }),
      (capacity, words, position, pushes) => {
        const ring = Ring.create(words, capacity);
        startAt(ring, position);
        const model: number[][] = [];
        const record = new Uint32Array(words);
        pushes.forEach((isPush, number) => {
          if (isPush && model.length < capacity) {
            const pushed = Array.from({ length: words }, (_, word) => (number * 7919 + word * 0x9e3779b9) >>> 0);
            expect(ring.push(pushed)).toBe(true);
            model.push(pushed);
          } else if (!isPush) {
            expect(ring.peek(record)).toBe(model.length > 0);
            if (model.length > 0) expect([...record]).toEqual(model[0]);
            expect(ring.length).toBe(model.length);
            const expected = model.shift();
            expect(ring.shift(record)).toBe(expected !== undefined);
            if (expected !== undefined) expect([...record]).toEqual(expected);
          }
          expect(ring.length).toBe(model.length);
        });
      },
    ),
    { numRuns: 300 },
  );
});

test.each([0, 3, 6, -4, 1.5])('refuses a capacity of %s', (capacity) => {
  expect(() => Ring.create(1, capacity)).toThrow(RangeError);
});

test('an attached ring is the same ring', () => {
  const ring = Ring.create(3, 16);
  const attached = Ring.attach(ring.buffer, 3);
  expect(attached.capacity).toBe(16);
  ring.push([1, 2, 3]);
  const record = new Uint32Array(3);
  expect(attached.shift(record)).toBe(true);
  expect([...record]).toEqual([1, 2, 3]);
  expect(ring.length).toBe(0);
});

describe('between threads', () => {
  test.each([1, 4, 64])('100,000 records go through %s slots in order', async (capacity) => {
    const COUNT = 100_000;
    const ring = Ring.create(2, capacity);
    startAt(ring, 2 ** 32 - COUNT / 2); // the positions wrap on the way
    const data = { buffer: ring.buffer, count: COUNT };
    const producer = onLibThread('test/producer', modules, data, (lib: Modules, { buffer, count }) => {
      const mine = lib.ring.Ring.attach(buffer, 2);
      let pushed = 0;
      for (let i = 0; i < count; i += 1) if (mine.push([i, (i * 2654435761) >>> 0])) pushed += 1;
      return pushed;
    });
    const consumer = onLibThread('test/consumer', modules, data, (lib: Modules, { buffer, count }) => {
      const mine = lib.ring.Ring.attach(buffer, 2);
      const record = new Uint32Array(2);
      const wrong: number[] = [];
      for (let i = 0; i < count; i += 1) {
        while (!mine.shift(record));
        if (record[0] !== i || record[1] !== (i * 2654435761) >>> 0) wrong.push(i);
      }
      return { wrong: wrong.slice(0, 5), left: mine.length };
    });
    expect(await producer.result).toBe(COUNT);
    expect(await consumer.result).toEqual({ wrong: [], left: 0 });
  });

  const pushTwo = (ring: Ring) =>
    onLibThread('test/full', modules, ring.buffer, (lib: Modules, buffer, aboutToWait) => {
      const mine = lib.ring.Ring.attach(buffer, 1);
      const first = mine.push([1]);
      aboutToWait();
      return [first, mine.push([2])];
    });

  test('a full ring holds its producer until something is taken', async () => {
    const ring = Ring.create(1, 1);
    const producer = pushTwo(ring);
    await producer.waits();
    const record = new Uint32Array(1);
    expect(ring.length).toBe(1);
    expect(ring.shift(record)).toBe(true);
    expect(await producer.result).toEqual([true, true]);
    expect(ring.shift(record)).toBe(true);
    expect(record[0]).toBe(2);
  });

  test('closing releases a producer that waits, and what is in can still be taken', async () => {
    const ring = Ring.create(1, 1);
    const producer = pushTwo(ring);
    await producer.waits();
    ring.close();
    expect(await producer.result).toEqual([true, false]);
    expect(ring.push([3])).toBe(false);
    const record = new Uint32Array(1);
    expect(ring.shift(record)).toBe(true);
    expect(record[0]).toBe(1);
    expect(ring.shift(record)).toBe(false);
  });
});
