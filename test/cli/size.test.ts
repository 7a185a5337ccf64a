/** Sizes and times, read and written. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatBytes, formatCount, formatMs, formatUs, parseSize } from '#lib/cli/size.js';

describe('parseSize reads', () => {
  test.each([
    ['4096', 4096],
    ['1', 1],
    ['64M', 64 * 2 ** 20],
    ['64m', 64 * 2 ** 20],
    ['64 MiB', 64 * 2 ** 20],
    ['64MB', 64 * 2 ** 20],
    ['1G', 2 ** 30],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['  2k ', 2048],
    ['3t', 3 * 2 ** 40],
    ['512b', 512],
    ['0.5k', 512],
  ])('%j', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });
});

describe('parseSize refuses', () => {
  test.each([
    '',
    ' ',
    '0',
    '0M',
    '-1',
    '-1M',
    '1e3',
    '0x10',
    'M',
    '1.M',
    '.5M',
    '1,5G',
    '1P',
    '1 G B',
    'NaN',
    '9999999T',
  ])('%j', (text) => {
    expect(() => parseSize(text)).toThrow(
      expect.objectContaining({ code: 'BAD_ARGUMENT', message: expect.stringContaining(`"${text}"`) }),
    );
  });
});

describe('formatBytes', () => {
  test.each([
    [0, '0 B'],
    [1, '1 B'],
    [999, '999 B'],
    [1024, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [10 * 1024, '10 KiB'],
    [2 ** 20, '1.0 MiB'],
    [256 * 2 ** 20, '256 MiB'],
    [1.5 * 2 ** 30, '1.5 GiB'],
    [3 * 2 ** 40, '3.0 TiB'],
    [5000 * 2 ** 40, '5000 TiB'],
  ])('%s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('what is written is read back, as exactly as it was written (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 49 }), (bytes) => {
        const text = formatBytes(bytes);
        expect(Math.abs(parseSize(text) - bytes)).toBeLessThanOrEqual(bytes * 0.051);
      }),
    );
  });

  test('is in the largest unit that leaves at least 1 (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 49 }), (bytes) => {
        const [, number, unit] = /^([\d.]+) (B|KiB|MiB|GiB|TiB)$/.exec(formatBytes(bytes)) ?? [];
        expect(Number(number)).toBeGreaterThanOrEqual(1);
        if (unit !== 'TiB') expect(Number(number)).toBeLessThan(1024);
      }),
    );
  });
});

test.each([
  [0, '0 µs'],
  [63.4, '63 µs'],
  [999, '999 µs'],
  [1000, '1.0 ms'],
  [12_345, '12 ms'],
])('formatUs %s', (us, text) => {
  expect(formatUs(us)).toBe(text);
});

test.each([
  [0, '0.0 ms'],
  [2.46, '2.5 ms'],
  [37.4, '37 ms'],
  [1000, '1.0 s'],
  [61_230, '61.2 s'],
])('formatMs %s', (ms, text) => {
  expect(formatMs(ms)).toBe(text);
});

test('formatCount groups digits', () => {
  expect([0, 999, 1000, 1234567.4].map(formatCount)).toEqual(['0', '999', '1,000', '1,234,567']);
});
