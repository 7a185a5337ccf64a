/** Faults as people type them. */
import { expect, test } from 'vitest';
import { faultText, parseCorruption, parsePlace } from '#lib/cli/fault-arguments.js';
import type { Fault } from '#lib/relay/faults.js';

test.each([
  ['64M', { after: 64 * 2 ** 20, connection: 0 }],
  ['0', { after: 0, connection: 0 }],
  ['0x1000@2', { after: 4096, connection: 2 }],
  ['1.5K@all', { after: 1536, connection: 'all' }],
])('a place: %s', (text, expected) => {
  expect(parsePlace(text)).toEqual(expected);
});

test.each(['', 'x', '-1', '1M@', '1M@-1', '1M@some', '1M@1@2', '0x'])('no place: "%s"', (text) => {
  expect(() => parsePlace(text)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

test.each([
  ['4096', { after: 4096, connection: 0, xor: 255 }],
  ['0:1', { after: 0, connection: 0, xor: 1 }],
  ['0x10:0x80@1', { after: 16, connection: 1, xor: 128 }],
  ['1M@all', { after: 2 ** 20, connection: 'all', xor: 255 }],
])('a corruption: %s', (text, expected) => {
  expect(parseCorruption(text)).toEqual(expected);
});

test.each(['', '1:0', '1:256', '1:0x100', '1:', '1:x', ':1', '1@x'])('no corruption: "%s"', (text) => {
  expect(() => parseCorruption(text)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

test.each<[Fault, string]>([
  [{ kind: 'cut', after: 64 * 2 ** 20 }, 'cut after 64 MiB (67108864 bytes) of s2d on connection 0'],
  [{ kind: 'stall', after: 100, direction: 'd2s', connection: 2 }, 'stall after 100 B of d2s on connection 2'],
  [{ kind: 'corrupt', after: 5000, connection: 'all' }, 'corrupt at byte 5000 of s2d on each connection'],
])('%j in words', (fault, expected) => {
  expect(faultText(fault)).toBe(expected);
});
