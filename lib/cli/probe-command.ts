/** `postcopy probe`: what this host can do. Exit code 0 where userfaultfd is to be had, else 1. */
import type { Command } from 'commander';
import { probeHost } from '../host/probe.js';
import { EXIT_FAILURE, printJson } from './command-line.js';
import { addHelp } from './help.js';
import { probeTable } from './probe-table.js';

function probe(options: { readonly json?: boolean }): void {
  const result = probeHost();
  if (options.json) printJson(result);
  else process.stdout.write(`${probeTable(result)}\n`);
  if (!result.userfaultfd.available) process.exitCode = EXIT_FAILURE;
}

/** Gives the command its options, and what it does. */
export function define(command: Command): void {
  command.option('--json', 'print one JSON object').action(probe);
  addHelp(command, {
    examples: [
      { line: 'postcopy probe', does: 'A table, with the command that mends each problem:' },
      { line: 'postcopy probe --json | jq .userfaultfd.via', does: 'By which way userfaultfd is to be had:' },
    ],
    succeeds: 'userfaultfd is to be had',
    fails: 'it is not',
  });
}
