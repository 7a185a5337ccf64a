/** Tokens to a value: as JSON.parse has it, and what is wrong in QEMU's words. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonLexer } from '#lib/qmp/json-lexer.js';
import { JsonParser, shown } from '#lib/qmp/json-parser.js';

function parserOf(text: string | Uint8Array): JsonParser {
  return new JsonParser([...new JsonLexer(1e6).tokens(Buffer.concat([Buffer.from(text), Buffer.from('\n')]))]);
}
const parse = (text: string | Uint8Array): unknown => parserOf(text).parse();

test('every value that JSON.stringify writes is read as JSON.parse reads it', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), (text) => {
      expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
    }),
  );
});

test('a key that objects inherit is one like any other', () => {
  const value = parse('{"__proto__": {"x": 1}, "constructor": 2}') as Record<string, unknown>;
  expect(Object.keys(value)).toEqual(['__proto__', 'constructor']);
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});

describe('strings', () => {
  test('stand in single quotes, too, with all escapes', () => {
    expect(parse(`'a"\\'\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00é'`)).toBe('a"\'"\\/\b\f\n\r\té😀é');
  });

  test.each([
    ['"\\q"', 'invalid escape sequence in string'],
    ['"\\u12"', '\\u12" is not a valid Unicode character'],
    ['"\\ud800"', '\\ud800 is not a valid Unicode character'],
    ['"\\uD800\\uD800"', '\\uD800 is not a valid Unicode character'],
    ['"\\ude00"', '\\ude00 is not a valid Unicode character'],
  ])('%s is refused', (text, what) => {
    expect(() => parse(text)).toThrow(`JSON parse error, ${what}`);
  });

  test('that are no UTF-8 are refused', () => {
    expect(() => parse(Buffer.from('"\xed\xa0\x80"', 'latin1'))).toThrow('invalid UTF-8 sequence in string');
  });
});

test.each([
  ['{"execute"}', 'missing : in object pair'],
  ['{"a" 1}', 'missing : in object pair'],
  ['{"a":}', 'expecting value'],
  ['{"a":1,}', 'expecting value'],
  ['{,}', 'expecting value'],
  ['[1,]', 'expecting value'],
  ['}', 'expecting value'],
  ['{]', 'expecting value'],
  ['{1:2}', 'key is not a string in object'],
  ['{"a":1,2:3}', 'key is not a string in object'],
  ['{"a":1 "b":2}', 'expected separator in dict'],
  ['[1 2]', 'expected separator in list'],
  ['{"a":1,"a":2}', 'duplicate key'],
  ['[nope]', "invalid keyword 'nope'"],
])('%s: %s', (text, what) => {
  expect(() => parse(text)).toThrow(`JSON parse error, ${what}`);
});

test('the text of an outermost member is given back with its numbers as they were, and quotes as JSON has them', () => {
  const parser = parserOf(`{"x": {"id": 1}, "id": [12345678901234567890, 1.50, {'a': "\\u00e9"}, null]}`);
  parser.parse();
  expect(parser.textOf('id')).toBe('[12345678901234567890,1.50,{"a":"é"},null]');
  expect(parser.textOf('y')).toBeUndefined();
});

test('of a token no more is shown than tells it apart', () => {
  expect(shown({ kind: 'stray', bytes: Buffer.from('ab\0c') })).toBe('ab');
  expect(shown({ kind: 'stray', bytes: Buffer.from('"\xff', 'latin1') })).toBe('"\ufffd');
  expect(shown({ kind: 'stray', bytes: Buffer.alloc(10_000, 'a') })).toHaveLength(257);
});
