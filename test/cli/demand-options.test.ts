/** The options that say how pages are asked for: what is taken, what is refused with the choices, and the defaults. */
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { prefetchOption } from '#lib/cli/demand-options.js';

const parse = (...words: string[]) =>
  new Command()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .addOption(prefetchOption())
    .parse(words, { from: 'user' })
    .opts();

test('none is asked for ahead unless a policy is given', () => {
  expect(parse()).toEqual({ prefetch: 'none' });
  expect(parse('--prefetch', 'adaptive')).toEqual({ prefetch: 'adaptive' });
});

test('another policy is refused, with those that there are', () => {
  expect(() => parse('--prefetch', 'all')).toThrow('Allowed choices are none, around, adaptive.');
});
