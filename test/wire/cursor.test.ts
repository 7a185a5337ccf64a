/** The bounded reader: every width, every end of the bytes, shortage that names what is missing. */
import { expect, test } from 'vitest';
import { Cursor, SHORTAGE } from '#lib/wire/cursor.js';

function cursorOver(values: readonly number[], end = values.length): Cursor {
  const bytes = Uint8Array.from([0xee, ...values, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee]);
  const cursor = new Cursor();
  cursor.reset(bytes, new DataView(bytes.buffer), 1, 1 + end);
  return cursor;
}

function shortage(act: () => unknown): boolean {
  try {
    act();
  } catch (thrown) {
    return thrown === SHORTAGE;
  }
  return false;
}

test('reads big-endian numbers one after another', () => {
  const cursor = cursorOver([1, 2, 3, 0x80, 0, 0, 4, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
  expect([cursor.u8(), cursor.u16(), cursor.u32(), cursor.u64()]).toEqual([
    1,
    0x203,
    0x80000004,
    Number.MAX_SAFE_INTEGER,
  ]);
  expect(cursor.left).toBe(0);
});

test('a number above 2^53 is never read as one below', () => {
  expect(cursorOver([0, 0x20, 0, 0, 0, 0, 0, 1]).u64()).toBeGreaterThanOrEqual(2 ** 53);
  expect(cursorOver(Array(8).fill(0xff)).u64()).toBe(2 ** 64);
});

test.each([
  ['u8', 1],
  ['u16', 2],
  ['u32', 4],
  ['u64', 8],
] as const)('%s of a cut field is a shortage, and reads nothing', (field, width) => {
  for (let have = 0; have < width; have++) {
    const cursor = cursorOver(Array(have).fill(1));
    expect(shortage(() => cursor[field]())).toBe(true);
    expect(cursor.wanted).toBe(1 + width);
    expect(cursor.left).toBe(have);
  }
});

test('a name is printable ASCII, and not empty', () => {
  expect(cursorOver([3, 97, 32, 126]).idstr()).toBe('a ~');
  expect(cursorOver([0]).idstr()).toBeUndefined();
  for (const bad of [0x1f, 0x7f, 0x80, 0xff]) expect(cursorOver([2, 97, bad]).idstr()).toBeUndefined();
  expect(shortage(() => cursorOver([3, 97, 97]).idstr())).toBe(true);
});

test('peek consumes nothing, copy copies, text is UTF-8', () => {
  const cursor = cursorOver([5, 0xc3, 0xa9]);
  expect([cursor.peek(), cursor.u8()]).toEqual([5, 5]);
  expect(cursor.text(2)).toBe('é');
  expect(shortage(() => cursor.peek())).toBe(true);
  expect(cursorOver([1, 2]).copy(2)).toEqual(Uint8Array.of(1, 2));
  expect(shortage(() => cursorOver([1, 2]).copy(3))).toBe(true);
});
