/** The program as commander has it; what its help says is in help.test.ts. */
import { expect, test } from 'vitest';
import { commands, createProgram } from '#lib/cli/program.js';

test('has all commands, and the options of those that are named', async () => {
  const program = await createProgram(['send']);
  expect(program.commands.map((command) => command.name())).toEqual(commands.map(({ name }) => name));
  const withOptions = program.commands.filter(({ options }) => options.length > 0);
  expect(withOptions.map((command) => command.name())).toEqual(['send']);
});

test('its version is that of the package', async () => {
  expect((await createProgram([])).version()).toMatch(/^\d+\.\d+\.\d+/);
});
