/** One value at a time from a stream: cut anywhere, with garbage between, endless, deep. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type JsonItem, type JsonLimits, JsonStream, jsonLimits } from '#lib/qmp/json-stream.js';

function itemsOf(chunks: readonly Uint8Array[], limits?: JsonLimits): JsonItem[] {
  const stream = new JsonStream(limits);
  return chunks.flatMap((chunk) => [...stream.items(chunk)]);
}

/** Each as JSON, or what is wrong with it. */
function told(text: string, limits?: JsonLimits): string[] {
  return itemsOf([Buffer.from(text)], limits).map((item) =>
    item.kind === 'error' ? item.description : JSON.stringify(item.value),
  );
}

function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const ends = [...new Set(at.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...ends, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
}

const cuts = fc.array(fc.nat(), { maxLength: 12 });
const requests = fc.array(
  fc.record({ execute: fc.string(), arguments: fc.dictionary(fc.string(), fc.jsonValue()), id: fc.jsonValue() }),
  { minLength: 1, maxLength: 6 },
);

describe('values', () => {
  test('come one by one, in order, however the stream is cut and whatever stands between them', () => {
    const between = fc.constantFrom('', ' ', '\n', '\r\n', '\t');
    fc.assert(
      fc.property(requests, between, cuts, (sent, space, places) => {
        const bytes = Buffer.from(sent.map((request) => JSON.stringify(request) + space).join(''));
        const items = itemsOf(cut(bytes, places));
        expect(items.map((item) => item.kind === 'value' && JSON.stringify(item.value))).toEqual(
          sent.map((request) => JSON.stringify(JSON.parse(JSON.stringify(request)))),
        );
        expect(items.map((item) => item.kind === 'value' && JSON.parse(item.idText ?? ''))).toEqual(
          sent.map(({ id }) => JSON.parse(JSON.stringify(id))),
        );
      }),
    );
  });

  test('that are no objects are values, too; those outermost may be told with the next byte only', () => {
    expect(told('1 [2] "x"nope true\n')).toEqual([
      '1',
      '[2]',
      '"x"',
      "JSON parse error, invalid keyword 'nope'",
      'true',
    ]);
  });
});

describe('garbage', () => {
  test('of whatever kind is answered, and a request behind 0xff is read', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), cuts, (garbage, places) => {
        const bytes = Buffer.concat([garbage, Buffer.from([0xff, 0x0a]), Buffer.from('{"execute":"x"}')]);
        const items = itemsOf(cut(bytes, places));
        expect(items.slice(0, -1).some(({ kind }) => kind === 'error')).toBe(true);
        expect(items.at(-1)).toMatchObject({ kind: 'value', value: { execute: 'x' } });
      }),
    );
  });

  test.each([
    ['{"a":1}}{}', ['{"a":1}', 'JSON parse error, expecting value', '{}']],
    ['{"id":01}{}', ["JSON parse error, stray '01'", 'JSON parse error, expecting value', '{}']],
    ['{"a":[}]', ['JSON parse error, expecting value']],
    ['{"a":{"b":]}}', Array(3).fill('JSON parse error, expecting value')],
    // What was opened by mistake stays open, as with QEMU.
    ['{"a":[}{}', []],
  ])('%s', (text, expected) => {
    expect(told(text)).toEqual(expected);
  });
});

describe('limits', () => {
  const small: JsonLimits = { bytes: 100, tokens: 20, nesting: 4 };

  test.each([
    ['nesting', `[[[[[ {}`, 'JSON nesting depth limit exceeded'],
    ['one string', `"${'a'.repeat(200)}"\n{}`, 'JSON token size limit exceeded'],
    ['all of its tokens', `[${'"aaaaaaaaa",'.repeat(11)}0]\n{}`, 'JSON token size limit exceeded'],
    ['their number', `[${'0,'.repeat(10)}`, 'JSON token count limit exceeded'],
  ])('%s', (_, text, description) => {
    expect(told(text, small)[0]).toBe(description);
  });

  test('a value at each of them is read', () => {
    expect(told('[[[[]]]]', small)).toEqual(['[[[[]]]]']);
    expect(told(`"${'a'.repeat(98)}"`, small)).toHaveLength(1);
    expect(told(`[${'0,'.repeat(9)}0]`, { ...small, tokens: 21 })).toEqual([JSON.stringify(Array(10).fill(0))]);
  });

  test('QEMU’s of nesting stands: 1024', () => {
    expect(told('['.repeat(1024) + ']'.repeat(1024))[0]).toMatch(/^\[{1024}\]{1024}$/);
    expect(told('['.repeat(1025))).toEqual(['JSON nesting depth limit exceeded']);
  });

  test('an endless value costs no more memory than one at the limit', () => {
    const stream = new JsonStream();
    const chunk = Buffer.alloc(64 * 1024, 'a');
    const items = [...stream.items(Buffer.from('"'))];
    const before = process.memoryUsage().arrayBuffers;
    for (let sent = 0; sent < 32 * jsonLimits.bytes; sent += chunk.length) items.push(...stream.items(chunk));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * jsonLimits.bytes);
    expect(items).toEqual([{ kind: 'error', description: 'JSON token size limit exceeded' }]);
  });
});
