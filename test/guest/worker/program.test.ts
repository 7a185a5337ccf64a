/** What is a program, and what is none. */
import { expect, test } from 'vitest';
import { defineProgram, programOf } from '#lib/guest/worker/program.js';

const program = { name: 'p', version: 0, run: () => {} };

test('a module with a program as its default export has it, as it is', () => {
  expect(programOf({ default: defineProgram(program) }, 'file:p.mjs')).toBe(program);
  const largest = { ...program, name: '~'.repeat(255), version: 2 ** 32 - 1, setup: () => {} };
  expect(programOf({ default: largest }, 'file:p.mjs')).toBe(largest);
});

test.each([
  undefined,
  null,
  'program',
  {},
  { ...program, name: undefined },
  { ...program, name: '' },
  { ...program, name: 'é' },
  { ...program, name: 'x'.repeat(256) },
  { ...program, version: '1' },
  { ...program, version: -1 },
  { ...program, version: 0.5 },
  { ...program, version: 2 ** 32 },
  { ...program, run: undefined },
  { ...program, setup: true },
])('%j is none', (value) => {
  expect(() => programOf({ default: value }, 'file:p.mjs')).toThrow(
    expect.objectContaining({ code: 'BAD_ARGUMENT', message: expect.stringContaining('file:p.mjs') }),
  );
});
