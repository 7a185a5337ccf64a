/** The options of a recovery: their defaults, what they take, and what not. */
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addRecoveryOptions, toMs } from '#lib/cli/recovery-options.js';

const parse = (...args: string[]) => {
  const command = addRecoveryOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  return command.parse(args, { from: 'user' }).opts();
};

test('a minute, and half of one', () => {
  expect(parse()).toEqual({ recoverFor: 60, peerTimeout: 30 });
});

test('times as people write them', () => {
  expect(parse('--recover-for', '5min', '--peer-timeout', '1.5s')).toEqual({ recoverFor: 300, peerTimeout: 1.5 });
});

test('seconds, also parts of one, and 0', () => {
  expect(parse('--recover-for', '0.5', '--peer-timeout', '0')).toEqual({ recoverFor: 0.5, peerTimeout: 0 });
  expect(toMs(0.5)).toBe(500);
});

test.each(['-1', 'x', '', '1e9'])('and no %j', (seconds) => {
  for (const option of ['--recover-for', '--peer-timeout'])
    expect(() => parse(option, seconds)).toThrow(/is no time|is too long/);
});
