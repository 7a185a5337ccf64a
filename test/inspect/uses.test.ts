/** Capabilities by where they first show. */
import { expect, test } from 'vitest';
import { Uses } from '#lib/inspect/uses.js';

test('names each capability once, at its first offset', () => {
  const uses = new Uses();
  uses.note(undefined, 1);
  uses.note('xbzrle', 5);
  uses.note('multifd', 7);
  uses.note('xbzrle', 9);
  expect(uses.list()).toEqual([
    { capability: 'xbzrle', offset: 5 },
    { capability: 'multifd', offset: 7 },
  ]);
});
