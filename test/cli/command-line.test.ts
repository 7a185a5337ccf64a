/** What the commands share. */
import { InvalidArgumentError } from 'commander';
import { describe, expect, test } from 'vitest';
import { argument, eachArgument, number, sized } from '#lib/cli/command-line.js';
import { parseSize } from '#lib/cli/size.js';

describe('options', () => {
  test('what a parser refuses, commander reports with what to do', () => {
    expect(argument(parseSize)('1K')).toBe(1024);
    expect(() => argument(parseSize)('x')).toThrow(InvalidArgumentError);
    expect(() => argument(parseSize)('x')).toThrow('"x" is no size: write it like 256M or 1G');
  });

  test('given more than once, all values are kept in order', () => {
    const parse = eachArgument(parseSize);
    expect(parse('2K', parse('1K'))).toEqual([1024, 2048]);
  });

  test.each([
    ['5', 5],
    ['0', 0],
    ['10', 10],
  ])('a number in range: %s', (text, expected) => {
    expect(number(0, 10)(text)).toBe(expected);
  });

  test.each(['', '-1', '11', '1.5', 'x'])('and no other: "%s"', (text) => {
    expect(() => number(0, 10)(text)).toThrow(InvalidArgumentError);
  });

  test('a default is shown as people write it', () => {
    const option = sized('--size <size>', 'so many', parseSize, '64M');
    expect(option.defaultValue).toBe(64 * 2 ** 20);
    expect(option.defaultValueDescription).toBe('64M');
  });
});
