/** Applying xbzrle: against an encoder, and deltas that are wrong. QEMU's own are in decode-all.test.ts. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { WireError } from '#lib/wire/errors.js';
import { applyXbzrle } from '#lib/wire/xbzrle.js';
import { naiveXbzrle } from '../../testing/naive-codec.js';
import { encodeXbzrle } from '../../testing/xbzrle.js';

const PAGE = 4096;
/** Of the delta in its array, and of its record in the stream. */
const START = 7;
const OFFSET = 10_000;

/** Applies a delta that stands between other bytes. */
function apply(page: Uint8Array, delta: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(START + delta.length + 5).fill(0x01);
  bytes.set(delta, START);
  applyXbzrle(page, bytes, START, START + delta.length, OFFSET);
  return page;
}

const changes = fc.array(fc.record({ at: fc.nat(PAGE - 1), bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }) }), {
  maxLength: 20,
});

test('what an encoder makes of two pages turns one into the other (property)', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: PAGE, maxLength: PAGE }), changes, (before, changed) => {
      const after = before.slice();
      for (const { at, bytes } of changed) after.set(bytes.subarray(0, PAGE - at), at);
      expect(Buffer.compare(apply(before.slice(), encodeXbzrle(before, after)), after)).toBe(0);
    }),
  );
});

test('a page whose every byte has changed', () => {
  const after = new Uint8Array(PAGE).fill(3);
  expect(Buffer.compare(apply(new Uint8Array(PAGE), encodeXbzrle(new Uint8Array(PAGE), after)), after)).toBe(0);
});

test('whatever the bytes, it agrees with the plain form or throws a WireError (property)', () => {
  const small = fc.integer({ min: 0, max: 4 });
  const delta = fc.array(fc.oneof({ weight: 4, arbitrary: small }, fc.nat(255)), { maxLength: 40 });
  fc.assert(
    fc.property(delta, (numbers) => {
      const bytes = Uint8Array.from(numbers);
      const page = new Uint8Array(PAGE);
      try {
        apply(page, bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(WireError);
        return;
      }
      const expected = new Uint8Array(PAGE);
      naiveXbzrle(expected, bytes);
      expect(Buffer.compare(page, expected)).toBe(0);
    }),
    { numRuns: 2000 },
  );
});

test.each<[string, number[], string, number]>([
  ['a delta cut before its first length of new bytes', [5], 'BAD_LENGTH', 1],
  ['a length cut in its middle', [0x85], 'BAD_LENGTH', 0],
  ['a second length cut in its middle', [0, 0x85], 'BAD_LENGTH', 1],
  ['a length of three bytes', [0x80, 0x80, 1, 1, 9], 'BAD_LENGTH', 0],
  ['nothing to replace', [3, 0], 'BAD_VALUE', 1],
  ['an empty run of kept bytes between two', [0, 1, 9, 0, 1, 9], 'BAD_VALUE', 3],
  ['fewer new bytes than it says', [0, 3, 9, 9], 'BAD_LENGTH', 2],
  ['a run that reaches past the page', [0xff, 0x1f, 2, 9, 9], 'BAD_LENGTH', 2],
  ['a run that begins behind the page', [0xff, 0x7f, 1, 9], 'BAD_LENGTH', 2],
])('%s is refused, with its place', (_, delta, code, at) => {
  expect(() => apply(new Uint8Array(PAGE), Uint8Array.from(delta))).toThrow(
    expect.objectContaining({
      name: 'WireError',
      code,
      offset: OFFSET,
      record: 'page',
      message: expect.stringContaining(`byte ${at} of its xbzrle delta`),
    }),
  );
});

test('the last byte of the page, and a length longer written than it needs', () => {
  const page = apply(new Uint8Array(PAGE), Uint8Array.of(0xff, 0x1f, 0x81, 0x00, 9));
  expect([page.indexOf(9), page[PAGE - 1]]).toEqual([PAGE - 1, 9]);
});

test('no pairs at all change nothing', () => {
  expect(Buffer.compare(apply(new Uint8Array(PAGE), new Uint8Array()), new Uint8Array(PAGE))).toBe(0);
});
