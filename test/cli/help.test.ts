/** What the help of each command says, and that its examples are what it says they are. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { commands, createProgram } from '#lib/cli/program.js';

const names = commands.map(({ name }) => name);
const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

let program: Command;
beforeAll(async () => {
  program = await createProgram(names);
});

/** All of what `--help` prints. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (piece) => (text += piece) });
  command.outputHelp();
  return text;
}

const found = (name: string): Command => {
  const command = program.commands.find((each) => each.name() === name);
  if (command === undefined) throw new Error(`no command ${name}`);
  return command;
};

/** The command lines of this command among what is typed in `text`. */
function commandLines(text: string): string[] {
  return [...text.matchAll(/(?:^\s*\$ |^|^npx |\| )(postcopy [a-z][^#\n|&>]*)/gm)].map(([, line]) => line.trim());
}

/** As a shell does, of what has no quotes. */
const words = (line: string): string[] => line.split(/\s+/).slice(1);

/** Parses the line with everything but what the command does. */
async function parse(line: string): Promise<void> {
  const fresh = await createProgram(words(line));
  for (const command of fresh.commands) command.action(() => {});
  await fresh.configureOutput({ writeErr: () => {}, writeOut: () => {} }).parseAsync(words(line), { from: 'user' });
}

describe.each(names)('%s', (name) => {
  test('says what it does, gives examples, and tells its exit codes', () => {
    const help = helpOf(found(name));
    const [examples] = help.split('Exit code:').slice(-2);
    expect(commandLines(examples).filter((line) => line.startsWith(`postcopy ${name}`)).length).toBeGreaterThan(0);
    for (const code of ['0  ', '1  ', '2  ', '130']) expect(help).toContain(`\n  ${code}  `);
    expect(help).toContain('POSTCOPY_MAX_BANDWIDTH');
  });

  test('every option and argument says what it is', () => {
    const { options, registeredArguments } = found(name);
    for (const { description } of [...options, ...registeredArguments]) expect(description).not.toBe('');
  });

  test('its examples parse', async () => {
    for (const line of commandLines(helpOf(found(name)))) await parse(line);
  });
});

test('defaults and choices stand there as people write them', () => {
  const help = helpOf(found('demo')).replace(/\s+/g, ' ');
  expect(help).toContain('(default: 256M)');
  expect(help).toContain('(unix, tcp; default: unix)');
  expect(help).not.toMatch(/default: (true|false|")/);
});

test.each(['docs/command-line.md', 'docs/relay.md', 'docs/inspect.md', 'docs/machines.md', 'docs/recovery.md'])(
  'the command lines of %s parse',
  async (path) => {
    const blocks = [...read(path).matchAll(/^```sh\n(.*?)^```/gms)].map(([, block]) => block);
    const lines = commandLines(blocks.join('\n')).filter((line) => !/ (--)?help|…/.test(line));
    expect(lines).not.toEqual([]);
    for (const line of lines) await expect(parse(line), line).resolves.toBeUndefined();
  },
);

test('the list of commands has one line of each', async () => {
  const help = helpOf(await createProgram([])).replace(/\s+/g, ' ');
  expect(help).toContain('demo migrate a running guest between two processes, and check that nothing was lost bench');
});
