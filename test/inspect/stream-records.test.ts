/** Records in order with those of packages among them: the same as decoded whole, however they are cut. */
import { expect, test } from 'vitest';
import { StreamRecords } from '#lib/inspect/stream-records.js';
import { decodeAll } from '#lib/wire/decode-all.js';
import { WireError } from '#lib/wire/errors.js';
import { capture } from '../../testing/captures.js';

interface Seen {
  readonly type: string;
  readonly offset: number;
  readonly packaged: boolean;
}

/** Pieces of device bodies depend on the cuts and are left out. */
function walk(bytes: Uint8Array, pieceBytes: number): Seen[] {
  const decoder = new StreamRecords({});
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const seen: Seen[] = [];
  let at = 0;
  for (let given = 0; ; given = Math.min(bytes.length, given + pieceBytes)) {
    if (given === bytes.length) decoder.endOfInput();
    for (;;) {
      const record = decoder.next(bytes, view, at, given);
      if (record === undefined) break;
      at += decoder.consumed;
      expect(decoder.offset).toBe(at);
      const { recordOffset: offset, packaged } = decoder;
      if (record.type !== 'device-data') seen.push({ type: record.type, offset, packaged });
    }
    if (given === bytes.length) return seen;
  }
}

test.each([100_000_000, 4001, 1_000_003])('in pieces of %i bytes', (pieceBytes) => {
  const bytes = capture('b6-postcopy-machine-none').fromSource(0);
  const whole = [...decodeAll(bytes)]
    .filter(({ type }) => type !== 'device-data')
    .map(({ type, recordOffset, packaged }) => ({ type, offset: recordOffset, packaged }));
  expect(whole.some(({ packaged }) => packaged)).toBe(true);
  expect(walk(bytes, pieceBytes)).toEqual(whole);
});

test('names the record at fault, and what the migration told', () => {
  const bytes = capture('b6-postcopy-machine-none').fromSource(0).slice(0, 1000);
  const view = new DataView(bytes.buffer);
  const decoder = new StreamRecords({});
  let at = 0;
  const decode = () => {
    while (decoder.next(bytes, view, at, bytes.length) !== undefined) at += decoder.consumed;
  };
  decode();
  decoder.endOfInput();
  expect(decode).toThrow(WireError);
  expect(decoder.recordOffset).toBe(at);
  expect(decoder.context().blocks.map(({ idstr }) => idstr)).not.toEqual([]);
});
