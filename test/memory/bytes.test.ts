/** Joining pieces of a stream. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { concatenate } from '#lib/memory/bytes.js';

test('pieces come out in order, as a copy (property)', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 8 }), (pieces) => {
      const expected = pieces.flatMap((piece) => [...piece]);
      const whole = concatenate(pieces);
      for (const piece of pieces) piece.fill(0);
      expect([...whole]).toEqual(expected);
    }),
  );
});
