/** Errors: their table, the way out of a worker and back, and the page that explains each. */

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  asMigrationError,
  describeError,
  type ErrorCode,
  errorCodes,
  fromPlainError,
  MigrationError,
  toPlainError,
} from '#lib/errors.js';
import { WireError } from '#lib/wire/errors.js';

const codes = Object.keys(errorCodes) as ErrorCode[];
const text = fc.string({ unit: 'grapheme' });

const options = fc.record(
  { hint: text, offset: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), record: text },
  { requiredKeys: [] },
);

test('a MigrationError crosses a worker boundary with all it says (property)', () => {
  fc.assert(
    fc.property(fc.constantFrom(...codes), text, options, (code, message, given) => {
      const error = new MigrationError(code, message, given);
      const back = fromPlainError(structuredClone(toPlainError(error)));
      expect(back).toBeInstanceOf(MigrationError);
      const said = ({ name, code: c, message: m, hint, offset, record, stack }: MigrationError) => ({
        name,
        code: c,
        message: m,
        hint,
        offset,
        record,
        stack,
      });
      expect(said(back as MigrationError)).toEqual(said(error));
    }),
  );
});

test('without a hint of its own it has the one of its code', () => {
  for (const code of codes) expect(new MigrationError(code, 'x').hint).toBe(errorCodes[code]);
});

test('its cause is kept, also where that is undefined', () => {
  const cause = new Error('deeper');
  expect(new MigrationError('PEER_GONE', 'x', { cause }).cause).toBe(cause);
  expect('cause' in new MigrationError('PEER_GONE', 'x', { cause: undefined })).toBe(true);
  expect('cause' in new MigrationError('PEER_GONE', 'x')).toBe(false);
});

describe('other thrown values cross too', () => {
  const cross = (thrown: unknown): Error => fromPlainError(structuredClone(toPlainError(thrown)));

  test.each<[string, unknown, string, string]>([
    ['an Error', new TypeError('a mistake'), 'INTERNAL', 'a mistake'],
    ['an error of a system call', Object.assign(new Error('mmap: no'), { code: 'ENOMEM' }), 'ENOMEM', 'mmap: no'],
    ['a string', 'out of paper', 'INTERNAL', 'out of paper'],
    ['undefined', undefined, 'INTERNAL', 'undefined'],
    ['an object', { code: 'X' }, 'INTERNAL', '[object Object]'],
    ['a code that is a name of every object', Object.assign(new Error('x'), { code: 'toString' }), 'toString', 'x'],
  ])('%s', (_what, thrown, code, message) => {
    const back = cross(thrown);
    expect(back).toMatchObject({ code, message });
    expect(back).not.toBeInstanceOf(MigrationError);
  });

  test('with the stack of where it was thrown', () => {
    const error = new Error('here');
    expect(cross(error).stack).toBe(error.stack);
  });
});

test('is described in one sentence with what to do', () => {
  expect(describeError(new MigrationError('TIMEOUT', 'no answer', { hint: 'wait' }))).toBe('no answer: wait');
  expect(describeError(new Error('plain'))).toBe('plain');
  expect(describeError('text')).toBe('text');
});

describe('docs/errors.md', () => {
  const doc = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
  const sections = doc.split(/^## /m).slice(1);
  const bodies = new Map(
    sections.map((section) => {
      const end = section.indexOf('\n');
      return [section.slice(0, end), section.slice(end + 1)] as const;
    }),
  );

  test('has a heading for every code, in order, and none else', () => {
    expect(sections.length).toBe(bodies.size);
    expect([...bodies.keys()]).toEqual([...codes].sort());
  });

  test.each(codes)('says of %s when it happens and what to do', (code) => {
    const body = bodies.get(code) ?? '';
    expect(body).toMatch(/^\*\*When\*\* \S.{20,}/m);
    expect(body).toMatch(/^\*\*What to do\*\* \S.{10,}/m);
  });
});

test('what the codec calls unsupported stays so, and other errors pass as they are', () => {
  const throwing = (error: Error) => () => {
    asMigrationError(() => {
      throw error;
    });
  };
  expect(throwing(new WireError('UNSUPPORTED', 'xyz', 5, 'page'))).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', offset: 5, record: 'page' }),
  );
  const mistake = new TypeError('a mistake');
  expect(throwing(mistake)).toThrow(mistake);
  expect(asMigrationError(() => 5)).toBe(5);
});
