#!/usr/bin/env node
/**
 * The command `postcopy`. Results go to stdout (with --json one object as its last line), all else to
 * stderr. Exit code 0 only on success, 1 on failure, 2 for a command line that can't be understood,
 * 130 when interrupted.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import pc from 'picocolors';
import { describeError, MigrationError } from '../errors.js';
import { EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE } from './command-line.js';

interface CommandEntry {
  readonly name: string;
  readonly description: string;
  /** What defines it, which brings along all that it does. */
  readonly load: () => Promise<{ readonly define: (command: Command) => void }>;
}

/** In the order of the help. */
const commands: readonly CommandEntry[] = [
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
];

/** Of a command that is not named among `args` there is no more than its name: loading all would take half a second. */
async function program(args: readonly string[]): Promise<Command> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const postcopy = new Command('postcopy')
    .description("Postcopy live migration on real userfaultfd, in QEMU's stream format")
    .version(version)
    .exitOverride()
    .showHelpAfterError('(run with --help for what there is)');
  for (const { name, description, load } of commands) {
    const command = postcopy.command(name).description(description);
    if (args.includes(name)) (await load()).define(command);
  }
  return postcopy;
}

/** Says what went wrong in one line; the exit code it should lead to. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  process.stderr.write(`${pc.red('postcopy:')} ${describeError(error)}\n`);
  if (process.env.POSTCOPY_DEBUG) process.stderr.write(`${(error as Error).stack}\n`);
  return error instanceof MigrationError && error.code === 'CANCELLED' ? EXIT_INTERRUPTED : EXIT_FAILURE;
}

try {
  const postcopy = await program(process.argv.slice(2));
  await postcopy.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
