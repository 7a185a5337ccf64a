/** Bytes to tokens: each kind, what is none, and that it does not matter where the bytes are cut. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonLexer } from '#lib/qmp/json-lexer.js';

/** `kind:text` of each token. */
function tokensOf(chunks: readonly Uint8Array[], bytesMax = 1000): string[] {
  const lexer = new JsonLexer(bytesMax);
  return chunks
    .flatMap((chunk) => [...lexer.tokens(chunk)])
    .map(({ kind, bytes }) => `${kind}:${Buffer.from(bytes).toString('latin1')}`);
}
const tokens = (text: string) => tokensOf([Buffer.from(text, 'latin1')]);

describe('tokens', () => {
  test('are strings in either quotes, numbers, keywords and what structures', () => {
    expect(tokens(`{"a\\"b": 'c\\'"', -12.5e+3:0}[true]`)).toEqual([
      'structural:{',
      'string:"a\\"b"',
      'structural::',
      `string:'c\\'"'`,
      'structural:,',
      'number:-12.5e+3',
      'structural::',
      'number:0',
      'structural:}',
      'structural:[',
      'keyword:true',
      'structural:]',
    ]);
  });

  test('a string and a bracket are told with their last byte, a number and a keyword with the next one', () => {
    expect(tokens('"a"')).toEqual(['string:"a"']);
    expect(tokens('12')).toEqual([]);
    expect(tokens('12 ')).toEqual(['number:12']);
    expect(tokens('null')).toEqual([]);
  });
});

describe('what is no token', () => {
  test.each([
    ['Foo 1\n2\n', ['stray:F', 'number:2']],
    ['01 02,', ['stray:01', 'structural:,']],
    ['1.x}', ['stray:1.x', 'structural:}']],
    ['-\n5\n', ['stray:-\n']],
    ['1e+\n', ['stray:1e+\n']],
    ['"a\nb"}', ['stray:"a\n', 'structural:}']],
    ['"\\\n"', ['stray:"\\\n']],
    ['"que\xff\n{', ['stray:"que\xff', 'structural:{']],
    ['\0', ['stray:\0']],
    ['%d}', ['stray:%', 'structural:}']],
  ])('%j is stray up to the byte that was wrong, and skipped to where something may begin', (text, expected) => {
    expect(tokens(text)).toEqual(expected);
  });

  test('is one that is too long, of which nothing is kept', () => {
    const chunk = Buffer.alloc(10, 'a');
    expect(tokensOf([Buffer.from('"'), ...Array(20).fill(chunk), Buffer.from('"\n{')], 100)).toEqual([
      'overlong:',
      'structural:{',
    ]);
  });
});

test('where the bytes are cut does not matter', () => {
  const pieces = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a\\n"',
    "'x'",
    '-1.5e3',
    '0',
    'true',
    ' ',
    '\n',
    '"',
    '\xff',
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 20 }), fc.array(fc.nat(60), { maxLength: 8 }), (texts, cuts) => {
      const bytes = Buffer.from(texts.join(''), 'latin1');
      const ends = [...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      const chunks = ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
      expect(tokensOf(chunks)).toEqual(tokensOf([bytes]));
    }),
  );
});
