/** The protocol tables: complete, consistent, and as the document shows them. */
import { describe, expect, test } from 'vitest';
import {
  Command,
  commands,
  defaultLimits,
  lengthAllowed,
  MAX_IDSTR_BYTES,
  RamFlag,
  ReturnPathMessage,
  returnPathMessages,
  SectionType,
  STREAM_MAGIC,
  TARGET_PAGE_BITS,
} from '#lib/wire/protocol.js';

test('the magic spells QEVM', () => {
  const bytes = [24, 16, 8, 0].map((shift) => (STREAM_MAGIC >>> shift) & 0xff);
  expect(String.fromCharCode(...bytes)).toBe('QEVM');
});

describe.each([
  ['commands', Command, commands, 11],
  ['return-path messages', ReturnPathMessage, returnPathMessages, 7],
] as const)('%s', (_name, codes, table, count) => {
  test('have codes from 1 without a gap, each in the table under its own name', () => {
    expect(Object.values(codes)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
    expect([...table].map(([code, { name }]) => [name, code])).toEqual(Object.entries(codes));
  });

  test('have no code 0', () => {
    expect(table.get(0)).toBeUndefined();
  });
});

test('section types are all different', () => {
  expect(new Set(Object.values(SectionType)).size).toBe(Object.keys(SectionType).length);
});

test('RAM flags are single bits, all different, below the smallest target page', () => {
  const flags = Object.values(RamFlag);
  for (const flag of flags) expect(Number.isInteger(Math.log2(flag))).toBe(true);
  expect(new Set(flags).size).toBe(flags.length);
  expect(Math.max(...flags)).toBeLessThan(2 ** TARGET_PAGE_BITS.min);
});

test('payload lengths add up to the widths of their fields', () => {
  const length = (name: keyof typeof Command) => commands.get(Command[name])!.length;
  const str = { min: 1 + 1, max: 1 + MAX_IDSTR_BYTES };
  expect(length('RECV_BITMAP')).toEqual(str);
  expect(length('POSTCOPY_RAM_DISCARD')).toEqual({ min: 1 + str.min + 1, max: 2 ** 16 - 1 });
  expect(length('POSTCOPY_ADVISE')).toEqual([0, 8 + 8]);
  const reqPages = 8 + 4;
  expect(returnPathMessages.get(ReturnPathMessage.REQ_PAGES)!.length).toBe(reqPages);
  expect(returnPathMessages.get(ReturnPathMessage.REQ_PAGES_ID)!.length).toEqual({
    min: reqPages + str.min,
    max: reqPages + str.max,
  });
  expect(returnPathMessages.get(ReturnPathMessage.RECV_BITMAP)!.length).toEqual(str);
});

test.each([
  [4, 4, true],
  [4, 5, false],
  [[0, 16], 16, true],
  [[0, 16], 8, false],
  [{ min: 2, max: 4 }, 1, false],
  [{ min: 2, max: 4 }, 2, true],
  [{ min: 2, max: 4 }, 4, true],
  [{ min: 2, max: 4 }, 5, false],
])('the rule %j and the length %d: %s', (rule, length, allowed) => {
  expect(lengthAllowed(rule, length)).toBe(allowed);
});

test('every limit is a whole number above 0', () => {
  for (const limit of Object.values(defaultLimits)) expect(Number.isSafeInteger(limit) && limit > 0).toBe(true);
});
