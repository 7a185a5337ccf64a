/** The options that say how pages are asked for: what is taken, what is refused with the choices, and the defaults. */
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { lanesOption, prefetchOption } from '#lib/cli/demand-options.js';

const parse = (...words: string[]) =>
  new Command()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .addOption(prefetchOption())
    .addOption(lanesOption())
    .parse(words, { from: 'user' })
    .opts();

test('none is asked for ahead, and over no lane, unless that is given', () => {
  expect(parse()).toEqual({ prefetch: 'none', lanes: 0 });
  expect(parse('--prefetch', 'adaptive', '--lanes', '16')).toEqual({ prefetch: 'adaptive', lanes: 16 });
});

test('more lanes than there may be are refused', () => {
  expect(() => parse('--lanes', '17')).toThrow('Give a whole number from 0 to 16.');
});

test('another policy is refused, with those that there are', () => {
  expect(() => parse('--prefetch', 'all')).toThrow('Allowed choices are none, around, adaptive.');
});
