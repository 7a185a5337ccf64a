/** Numbers and names of WebAssembly binaries: there and back, in long forms, cut short, too large. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BinaryError, BinaryReader, encodeU32 } from '#lib/guest/wasm/leb128.js';

const u32 = fc.nat(2 ** 32 - 1);
const reader = (...bytes: number[]): BinaryReader => new BinaryReader(Uint8Array.from(bytes));

/** The same number with bytes that say nothing, up to `length`. */
function padded(bytes: readonly number[], length: number): number[] {
  const [last] = bytes.slice(-1);
  const zeroes = Math.max(0, length - bytes.length);
  if (zeroes === 0) return [...bytes];
  return [...bytes.slice(0, -1), last | 0x80, ...new Array<number>(zeroes - 1).fill(0x80), 0];
}

describe('a number', () => {
  test('is read as it was written', () => {
    fc.assert(
      fc.property(u32, (value) => {
        const read = reader(...encodeU32(value));
        expect(read.u32()).toBe(value);
        expect(read.left).toBe(0);
      }),
    );
  });

  test('is written as the specification has it', () => {
    expect(encodeU32(0)).toEqual([0]);
    expect(encodeU32(127)).toEqual([0x7f]);
    expect(encodeU32(624485)).toEqual([0xe5, 0x8e, 0x26]);
    expect(encodeU32(2 ** 32 - 1)).toEqual([0xff, 0xff, 0xff, 0xff, 0x0f]);
  });

  test('may be longer than it has to be, as linkers leave them', () => {
    fc.assert(
      fc.property(u32, fc.integer({ min: 1, max: 5 }), (value, length) => {
        const bytes = padded(encodeU32(value), length);
        expect(reader(...bytes).u32()).toBe(value);
        const skipping = reader(...bytes);
        skipping.skipNumber();
        expect(skipping.left).toBe(0);
      }),
    );
  });

  test('that is cut is refused', () => {
    fc.assert(
      fc.property(u32, (value) => {
        const bytes = encodeU32(value).slice(0, -1);
        expect(() => reader(...bytes).u32()).toThrow(BinaryError);
        expect(() => reader(...bytes).skipNumber()).toThrow(BinaryError);
      }),
    );
  });

  test.each([
    ['of 33 bits', [0xff, 0xff, 0xff, 0xff, 0x1f]],
    ['of six bytes', [0x80, 0x80, 0x80, 0x80, 0x80, 0x00]],
  ])('%s is refused, with its place', (_what, bytes) => {
    expect(() => reader(...bytes).u32()).toThrow(/^a number of more than 32 bits at byte 0$/);
  });

  test('of 64 bits is stepped over, and a longer one is refused', () => {
    const ten = new Array<number>(9).fill(0xff);
    const read = reader(...ten, 0x01, 5);
    read.skipNumber();
    expect(read.byte()).toBe(5);
    expect(() => reader(...ten, 0x81, 0x00).skipNumber()).toThrow(/more than 64 bits at byte 0/);
  });
});

describe('a name', () => {
  test('is read behind its length', () => {
    expect(reader(3, 0xe2, 0x82, 0xac, 9).text()).toBe('€');
  });

  test('that is cut or no UTF-8 is refused', () => {
    expect(() => reader(4, 0x61).text()).toThrow(/the binary ends at byte 2/);
    expect(() => reader(1, 0xff).text()).toThrow(/a name that is not UTF-8 at byte 1/);
  });
});

test('a part ends where it ends, and what follows it goes on behind', () => {
  const read = reader(1, 2, 3, 4);
  const part = read.part(2);
  part.skip(2);
  expect(() => part.byte()).toThrow(BinaryError);
  expect(read.byte()).toBe(3);
  expect(() => read.part(2)).toThrow(BinaryError);
});
