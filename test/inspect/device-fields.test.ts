/** Fields of a state by its description: each type, and descriptions that lie. Recordings: inspect.test.ts. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DeviceDescription, decodeFields, parseVmDescription, valueBudget } from '#lib/inspect/device-fields.js';
import { stringToUtf8 } from '#lib/wire/text.js';

function device(fields: readonly unknown[], subsections?: readonly unknown[]): DeviceDescription {
  return { name: 'd', instance_id: 0, fields, ...(subsections === undefined ? {} : { subsections }) };
}

const field = (name: string, type: string, size: number, more: object = {}) => ({ name, type, size, ...more });
const body = (...values: number[]) => Uint8Array.from(values);
const decode = (bytes: Uint8Array, description: DeviceDescription) => decodeFields(bytes, description, valueBudget());

describe('values', () => {
  test.each([
    ['uint8', body(0xff), 255],
    ['int8', body(0xff), -1],
    ['int8 equal', body(0x80), -128],
    ['uint16', body(1, 2), 258],
    ['int32 le', body(0xff, 0xff, 0xff, 0xfe), -2],
    ['uint32 equal', body(0xff, 0xff, 0xff, 0xfe), 0xfffffffe],
    ['uint64', body(0, 0, 0, 1, 0, 0, 0, 0), 2 ** 32],
    ['uint64', body(0xff, 0, 0, 0, 0, 0, 0, 1), '0xff00000000000001'],
    ['int64', body(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), -1],
    ['timer', body(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), -1],
    ['bool', body(1), true],
    ['bool', body(0), false],
    ['buffer', body(0xde, 0xad), 'dead'],
    ['unused_buffer', body(0, 0), '0000'],
    ['something new', body(9), '09'],
    ['uint8', body(1, 2, 3, 4, 5, 6, 7, 8, 9), '010203040506070809'],
  ])('%s %j', (type, bytes, value) => {
    expect(decode(bytes, device([field('f', type, bytes.length)]))).toEqual({ fields: { f: value } });
  });
});

test('arrays of one kind, arrays of elements with an index, repeated names', () => {
  const fields = [
    field('regs', 'uint16', 2, { array_len: 3 }),
    field('none', 'uint8', 0, { array_len: 5 }),
    field('chan', 'uint8', 1, { index: 0 }),
    field('chan', 'uint8', 1, { index: 1 }),
    field('unused', 'buffer', 1),
    field('unused', 'buffer', 1),
    field('unused', 'buffer', 1),
  ];
  expect(decode(body(0, 1, 0, 2, 0, 3, 7, 8, 9, 10, 11), device(fields))).toEqual({
    fields: { regs: [1, 2, 3], none: [], chan: [7, 8], unused: '09', 'unused#2': '0a', 'unused#3': '0b' },
  });
});

test('structs, arrays of them, and the type that has its fields beside it', () => {
  const inner = { vmsd_name: 'inner', version: 1, fields: [field('a', 'uint8', 1), field('b', 'uint8', 1)] };
  const fields = [
    field('one', 'struct', 2, { struct: inner }),
    field('many', 'struct', 2, { array_len: 2, struct: inner }),
    field('tmp', 'tmp', 2, inner),
  ];
  expect(decode(body(1, 2, 3, 4, 5, 6, 7, 8), device(fields))).toEqual({
    fields: {
      one: { a: 1, b: 2 },
      many: [
        { a: 3, b: 4 },
        { a: 5, b: 6 },
      ],
      tmp: { a: 7, b: 8 },
    },
  });
});

test('a struct whose fields are not all of it stays bytes, and the rest is named', () => {
  const list = field('list', 'QTAILQ', 3, { vmsd_name: 'e', version: 1, fields: [field('a', 'uint8', 1)] });
  expect(decode(body(1, 5, 0, 9), device([list, field('z', 'uint8', 1)]))).toEqual({
    fields: { list: '010500', z: 9 },
  });
});

function subsection(name: string, ...fields: number[]): number[] {
  return [5, name.length, ...stringToUtf8(name), 0, 0, 0, 1, ...fields];
}

test('subsections, also in each other', () => {
  const deep = { vmsd_name: 'd/x/y', version: 1, fields: [field('b', 'uint8', 1)] };
  const described = device(
    [field('a', 'uint8', 1)],
    [{ vmsd_name: 'd/x', version: 1, fields: [field('c', 'uint8', 1)], subsections: [deep] }],
  );
  const bytes = body(1, ...subsection('d/x', 2, ...subsection('d/x/y', 3)));
  expect(decode(bytes, described)).toEqual({ fields: { a: 1, 'd/x': { c: 2, 'd/x/y': { b: 3 } } } });
  expect(decode(body(1, ...subsection('d/z', 2)), described)).toEqual({ problem: expect.stringContaining('d/x') });
});

test.each([
  ['shorter than the state', body(1, 2), device([field('a', 'uint8', 1)]), '1 bytes'],
  ['longer than the state', body(1), device([field('a', 'uint16', 2)]), 'beyond'],
  ['a size that is none', body(1), device([field('a', 'uint8', -1)]), 'no name, type or size'],
  ['an array length that is none', body(1), device([field('a', 'uint8', 1, { array_len: 'x' })]), 'no name'],
  ['a field that is none', body(1), device([7]), 'no name'],
  ['a subsection that is none', body(), device([], [{}]), 'subsection'],
])('a description %s is a problem in words', (_what, bytes, description, words) => {
  expect(decode(bytes, description)).toEqual({ problem: expect.stringContaining(words) });
});

test('names of any kind become plain members', () => {
  const names = ['__proto__', 'constructor', 'toString', '\u001b[31m', ''];
  const fields = names.map((name) => field(name, 'uint8', 1));
  const decoded = decode(body(0, 1, 2, 3, 4), device(fields));
  expect(Object.keys('fields' in decoded ? decoded.fields : {})).toEqual(names);
});

test('what would make too many values is a problem, soon', () => {
  const empty = Array.from({ length: 5000 }, (_, i) => field(`f${i}`, 'uint8', 0));
  const struct = { vmsd_name: 's', version: 1, fields: [...empty, field('z', 'uint8', 1)] };
  const bytes = new Uint8Array(100_000);
  const decoded = decode(bytes, device([field('a', 'struct', 1, { array_len: bytes.length, struct })]));
  expect(decoded).toEqual({ problem: expect.stringContaining('too many') });
});

test('what nests too deep stays bytes', () => {
  let nested: object = { vmsd_name: 's', version: 1, fields: [field('a', 'uint8', 1)] };
  for (let i = 0; i < 40; i++) {
    nested = { vmsd_name: 's', version: 1, fields: [field('a', 'struct', 1, { struct: nested })] };
  }
  expect(JSON.stringify(decode(body(7), device([field('a', 'struct', 1, { struct: nested })])))).toContain('"07"');
});

describe('the JSON', () => {
  test('is taken with what is known of it', () => {
    const devices = [device([]), { name: 'old' }, 7, { name: 'x', instance_id: 'a', fields: [] }];
    expect(parseVmDescription(JSON.stringify({ page_size: 4096, configuration: {}, devices }))).toEqual({
      pageSize: 4096,
      devices: [device([])],
    });
    expect(parseVmDescription('{"devices":[]}')).toEqual({ pageSize: null, devices: [] });
  });

  test.each(['', '{', '[]', 'null', '7', '{"devices":7}'])('%j is none', (json) => {
    expect(parseVmDescription(json)).toBeUndefined();
  });
});

test('any description of any state gives fields or a problem', () => {
  const described = fc.letrec((tie) => ({
    field: fc.record(
      {
        name: fc.constantFrom('a', 'b', 'unused'),
        type: fc.constantFrom('uint8', 'int32', 'uint64', 'bool', 'buffer', 'struct', 'timer'),
        size: fc.oneof(fc.nat(9), fc.constantFrom(-1, 1.5, 2 ** 53)),
        array_len: fc.oneof(fc.nat(5), fc.constant(2 ** 40)),
        index: fc.nat(3),
        struct: fc.option(tie('struct'), { maxDepth: 3 }),
      },
      { requiredKeys: ['name', 'type', 'size'] },
    ),
    struct: fc.record(
      {
        vmsd_name: fc.constantFrom('s', 's/t'),
        fields: fc.array(tie('field'), { maxLength: 5 }),
        subsections: fc.array(fc.option(tie('struct'), { maxDepth: 3 }), { maxLength: 2 }),
      },
      { requiredKeys: ['vmsd_name', 'fields'] },
    ),
  }));
  fc.assert(
    fc.property(described.struct, fc.uint8Array({ maxLength: 40 }), (struct, bytes) => {
      const decoded = decode(bytes, { name: 'd', instance_id: 0, ...(struct as { fields: unknown[] }) });
      expect('fields' in decoded || decoded.problem !== '').toBe(true);
    }),
    { numRuns: 1000 },
  );
});
