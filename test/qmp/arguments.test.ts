/** Arguments against the table of a command: what is refused, and how it is named. */
import { expect, test } from 'vitest';
import { checkArguments } from '#lib/qmp/arguments.js';

const takes = {
  uri: { type: 'string' },
  resume: { type: 'boolean', optional: true },
  limit: { type: 'integer', bits: 64, optional: true },
  percent: { type: 'integer', bits: 8, optional: true },
  list: {
    type: 'array',
    optional: true,
    of: {
      type: 'object',
      members: { capability: { type: 'enum', values: ['events', 'xbzrle'] }, state: { type: 'boolean' } },
    },
  },
} as const;

test('what fits the table passes, with or without what is optional', () => {
  const all = {
    uri: 'x',
    resume: true,
    limit: 2 ** 63,
    percent: 255,
    list: [{ capability: 'events', state: false }],
  };
  expect(checkArguments(all, takes)).toBe(all);
  expect(checkArguments({ uri: '' }, takes)).toEqual({ uri: '' });
});

test.each([
  [{}, "Parameter 'uri' is missing"],
  [{ foo: 1 }, "Parameter 'uri' is missing"],
  [{ uri: 'x', foo: 1 }, "Parameter 'foo' is unexpected"],
  [{ uri: 'x', toString: 1 }, "Parameter 'toString' is unexpected"],
  [{ uri: 1 }, "Invalid parameter type for 'uri', expected: string"],
  [{ uri: null }, "Invalid parameter type for 'uri', expected: string"],
  [{ uri: 'x', resume: 1 }, "Invalid parameter type for 'resume', expected: boolean"],
  [{ uri: 'x', limit: -1 }, "Parameter 'limit' expects uint64"],
  [{ uri: 'x', limit: 1.5 }, "Parameter 'limit' expects uint64"],
  [{ uri: 'x', limit: '1' }, "Parameter 'limit' expects uint64"],
  [{ uri: 'x', limit: 2 ** 64 }, "Parameter 'limit' expects uint64"],
  [{ uri: 'x', percent: 256 }, "Parameter 'percent' expects uint8_t"],
  [{ uri: 'x', list: 1 }, "Invalid parameter type for 'list', expected: array"],
  [{ uri: 'x', list: [1] }, "Invalid parameter type for 'list[0]', expected: object"],
  [{ uri: 'x', list: [{}] }, "Parameter 'list[0].capability' is missing"],
  [{ uri: 'x', list: [{ capability: 'nope', state: true }] }, "Parameter 'capability' does not accept value 'nope'"],
  [
    { uri: 'x', list: [{ capability: 1, state: true }] },
    "Invalid parameter type for 'list[0].capability', expected: string",
  ],
  [{ uri: 'x', list: [{ capability: 'events', state: true, x: 1 }] }, "Parameter 'list[0].x' is unexpected"],
])('%j: %s', (given, what) => {
  expect(() => checkArguments(given, takes)).toThrow(what);
});
