/** Names on the wire: what can be one, and what can not. */
import { expect, test } from 'vitest';
import { asciiToString, encodeIdstr, isPrintable, stringToUtf8, utf8ToString, uuidText } from '#lib/wire/text.js';

test('every printable character, and no other, makes a name', () => {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const printable = [...all].filter((byte) => isPrintable(all, byte, byte + 1));
  expect(printable).toEqual(Array.from({ length: 95 }, (_, i) => 32 + i));
  const name = asciiToString(all, 32, 127);
  expect(encodeIdstr(name)).toEqual(all.subarray(32, 127));
});

test('text goes to UTF-8 and back', () => {
  const bytes = stringToUtf8('a é 漢 \u{1f600}');
  expect(utf8ToString(bytes, 0, bytes.length)).toBe('a é 漢 \u{1f600}');
  expect(utf8ToString(bytes, 0, 1)).toBe('a');
});

test('a UUID is written with dashes', () => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => i * 0x11);
  expect(uuidText(bytes)).toBe('00112233-4455-6677-8899-aabbccddeeff');
});
