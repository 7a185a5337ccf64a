/** The options that say which guest there is: their defaults, whole pages, and what is said of both sides. */
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addGuestOptions, chosenGuest, type GuestOptions, guestSettings } from '#lib/cli/guest-options.js';

const parse = (...words: string[]): GuestOptions =>
  addGuestOptions(new Command()).parse(words, { from: 'user' }).opts();

test('by default 256 MiB in one block', () => {
  expect(guestSettings(parse())).toEqual({
    ...{ memory: 256 * 2 ** 20, kind: 'anonymous', blocks: 1, vcpus: 1 },
    ...{ writesPerSecond: 20_000, workingSetShare: 0.25 },
  });
});

test('memory is rounded up to whole pages', () => {
  expect(guestSettings(parse('--memory', '4097', '--memory-kind', 'memfd', '--blocks', '3'))).toMatchObject({
    ...{ memory: 8192, kind: 'memfd', blocks: 3 },
  });
});

test('a guest that is asked for by name is that one', () => {
  expect(chosenGuest(parse('--guest', 'stress'), () => {})).toBe('stress');
});

test('where there are two commands, what both have to agree on says so', () => {
  const about = addGuestOptions(new Command(), '; at both sides').options.map(({ long, description }) => [
    long,
    description.endsWith('; at both sides'),
  ]);
  expect(about.filter(([, isShared]) => isShared).map(([long]) => long)).toEqual(['--memory', '--blocks']);
});
