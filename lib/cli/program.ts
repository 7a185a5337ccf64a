/** The command `postcopy` as commander has it: its commands, each loaded only where it is asked for. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { stderrColours } from './colours.js';
import { EnvironmentCommand } from './environment.js';
import { helpLayout } from './help.js';

interface CommandEntry {
  readonly name: string;
  readonly description: string;
  /** What defines it, which brings along all that it does. */
  readonly load: () => Promise<{ readonly define: (command: Command) => void }>;
}

/** In the order of the help. */
export const commands: readonly CommandEntry[] = [
  {
    name: 'probe',
    description: 'what this host can do, and how to allow what it cannot',
    load: () => import('./probe-command.js'),
  },
  {
    name: 'forecast',
    description: 'whether a precopy of a guest would end, and what would make it end',
    load: () => import('./forecast-command.js'),
  },
  {
    name: 'demo',
    description: 'migrate a running guest between two processes, and check that nothing was lost',
    load: () => import('./demo-command.js'),
  },
  {
    name: 'bench',
    description: 'how fast this host moves a guest between two processes, by each way in turn',
    load: () => import('./bench-command.js'),
  },
  {
    name: 'inspect',
    description: 'what a recorded migration stream holds, and whether it is whole',
    load: () => import('./inspect-command.js'),
  },
  {
    name: 'relay',
    description: 'pass a migration on between two peers: recorded, delayed, slowed down, or broken',
    load: () => import('./relay-command.js'),
  },
  {
    name: 'receive',
    description: 'take a machine over from a QEMU or from "postcopy send", and keep it',
    load: () => import('./receive-command.js'),
  },
  {
    name: 'send',
    description: 'send on a machine that "postcopy receive --save" kept, to a QEMU or another receive',
    load: () => import('./send-command.js'),
  },
  {
    name: 'host',
    description: 'hold a guest, or wait for one, and be driven over QMP as a QEMU is',
    load: () => import('./host-command.js'),
  },
  {
    name: 'reconcile',
    description: 'make a whole machine of the two halves that a postcopy left which was given up',
    load: () => import('./reconcile-command.js'),
  },
  {
    name: 'completion',
    description: 'print a script that has bash, zsh or fish complete these commands',
    load: () => import('./completion-command.js'),
  },
];

const FIRST_STEPS = `
"postcopy COMMAND --help" has examples, exit codes and all options of a command. A first migration, of a guest that
writes all the while, and what is to be set where it can't be made:

  $ postcopy demo
  $ postcopy probe`;

export interface ProgramOptions {
  /** Whether what is wrong with a command line is written to stderr. True when absent. */
  readonly tellsErrors?: boolean;
}

/** Of commands that are not among `names` there is no more than their name: loading all would take half a second. */
export async function createProgram(
  names: readonly string[],
  { tellsErrors = true }: ProgramOptions = {},
): Promise<Command> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const postcopy = new Command('postcopy');
  postcopy.createCommand = (name) => new EnvironmentCommand(name);
  postcopy
    .description("Postcopy live migration on real userfaultfd, in QEMU's stream format")
    .version(version)
    .exitOverride()
    .configureHelp(helpLayout)
    .configureOutput({
      ...(tellsErrors ? {} : { writeErr: () => {} }),
      outputError: (text, write) => write(text.replace(/^error:/, stderrColours.red('postcopy:'))),
    })
    .showHelpAfterError('(see "postcopy --help")')
    .addHelpText('after', FIRST_STEPS);
  for (const { name, description, load } of commands) {
    const command = postcopy.command(name).description(description);
    command.showHelpAfterError(`(see "postcopy ${name} --help")`);
    if (names.includes(name)) (await load()).define(command);
  }
  return postcopy;
}

/** Of `help NAME` where there is no such command commander prints the help alone. Throws its error instead. */
export function requireKnownHelp(postcopy: Command, [command, name]: readonly string[]): void {
  if (command !== 'help' || name === undefined || name.startsWith('-')) return;
  if (name === 'help' || commands.some((known) => known.name === name)) return;
  postcopy.error(`error: unknown command '${name}'`, { code: 'commander.unknownCommand', exitCode: 1 });
}
