/** Options from the environment, as every command has them. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { eachArgument, sized } from '#lib/cli/command-line.js';
import { EnvironmentCommand } from '#lib/cli/environment.js';
import { commands, createProgram } from '#lib/cli/program.js';
import { parseSize } from '#lib/cli/size.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

/** What a command with an option of each kind makes of the variables and the arguments. */
async function options(variables: Readonly<Record<string, string>>, args: readonly string[] = []) {
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
  const command = new EnvironmentCommand('any')
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .addOption(sized('--memory <size>', '', parseSize, '1M'))
    .option('--json', '')
    .option('--no-verify', '')
    .option('--cut-after <size>', '', eachArgument(parseSize))
    .action(() => {});
  await command.parseAsync([...args], { from: 'user' });
  return command.opts();
}

test('are taken from it', async () => {
  const variables = { POSTCOPY_MEMORY: '2K', POSTCOPY_JSON: '1', POSTCOPY_NO_VERIFY: 'yes', POSTCOPY_CUT_AFTER: '1K' };
  expect(await options(variables)).toEqual({ memory: 2048, json: true, verify: false, cutAfter: [1024] });
});

test('the command line goes before it', async () => {
  expect(await options({ POSTCOPY_MEMORY: '2K' }, ['--memory', '3K'])).toMatchObject({ memory: 3072 });
});

test.each(['0', 'false', 'no', 'off', ''])('"%s" is no', async (value) => {
  const variables = { POSTCOPY_JSON: value, POSTCOPY_NO_VERIFY: value };
  expect(await options(variables)).toEqual({ memory: 2 ** 20, verify: true });
});

test('an empty value is as none', async () => {
  expect(await options({ POSTCOPY_MEMORY: '' })).toMatchObject({ memory: 2 ** 20 });
});

describe('what is wrong names the variable', () => {
  test.each([
    [{ POSTCOPY_MEMORY: 'much' }, "value 'much' from env 'POSTCOPY_MEMORY' is invalid. \"much\" is no size"],
    [{ POSTCOPY_JSON: 'maybe' }, "value 'maybe' from env 'POSTCOPY_JSON' is invalid. Give 1 or 0."],
  ])('%j', async (variables, says) => {
    await expect(options(variables)).rejects.toThrow(says);
  });
});

test('every command takes its options from it', async () => {
  const names = commands.map(({ name }) => name);
  const program = await createProgram(names);
  const defined = program.commands.filter(({ options }) => options.length > 0);
  expect(defined.map((command) => command.name())).toEqual(names.filter((name) => name !== 'completion'));
  for (const command of defined) expect(command).toBeInstanceOf(EnvironmentCommand);
});
