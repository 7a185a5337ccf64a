#!/usr/bin/env node
/**
 * The command `postcopy`. Results go to stdout (with --json one object as its last line), all else to
 * stderr. Exit code 0 only on success, 1 on failure, 2 for a command line that can't be understood,
 * 130 when interrupted.
 */
import { CommanderError } from 'commander';
import { describeError, MigrationError } from '../errors.js';
import { stderrColours } from './colours.js';
import { EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE } from './command-line.js';
import { createProgram } from './program.js';

/** Says what went wrong in one line; the exit code it should lead to. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  process.stderr.write(`${stderrColours.red('postcopy:')} ${describeError(error)}\n`);
  if (process.env.POSTCOPY_DEBUG) process.stderr.write(`${(error as Error).stack}\n`);
  return error instanceof MigrationError && error.code === 'CANCELLED' ? EXIT_INTERRUPTED : EXIT_FAILURE;
}

try {
  const postcopy = await createProgram(process.argv.slice(2));
  await postcopy.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
