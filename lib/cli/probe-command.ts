/**
 * `postcopy probe`: what this host can do, what it can't, why, and what to do about it. Exit code 0 where a migration
 * works, though something else may not; 1 where none does, or where the guest that is asked about would not fit.
 */
import { type Command, Option } from 'commander';
import { probeHost } from '../host/probe.js';
import type { MemoryKind } from '../memory/ram-block.js';
import { argument, EXIT_FAILURE, printJson } from './command-line.js';
import { addHelp } from './help.js';
import { probeTable } from './probe-table.js';
import { parseSize } from './size.js';

interface ProbeOptions {
  readonly memory?: number;
  readonly memoryKind?: MemoryKind;
  readonly locked?: boolean;
  readonly json?: boolean;
}

function probe({ memory, memoryKind, locked = false, json }: ProbeOptions, command: Command): void {
  if (memory === undefined && (memoryKind !== undefined || locked)) {
    command.error('error: --memory-kind and --locked are of the guest of --memory: give that too');
  }
  const kind = memoryKind ?? 'anonymous';
  const result = probeHost(memory === undefined ? undefined : { memory, kind, isLocked: locked });
  if (json) printJson(result);
  else process.stdout.write(`${probeTable(result)}\n`);
  if (!result.works) process.exitCode = EXIT_FAILURE;
}

/** Gives the command its options, and what it does. */
export function define(command: Command): void {
  command
    .option('--memory <size>', 'whether a guest of that size fits here, such as 64G', argument(parseSize))
    .addOption(
      new Option('--memory-kind <kind>', 'what the RAM of that guest is; anonymous when left out').choices([
        'anonymous',
        'memfd',
        'hugetlb',
      ]),
    )
    .option('--locked', 'that guest locks its memory')
    .option('--json', 'print one JSON object')
    .action(probe);
  addHelp(command, {
    examples: [
      { line: 'postcopy probe', does: 'A table, with the command that mends each problem:' },
      { line: 'postcopy probe --memory 64G', does: 'Whether a guest of that size fits here, too:' },
      { line: 'postcopy probe --json | jq .userfaultfd.via', does: 'By which way userfaultfd is to be had:' },
    ],
    succeeds: 'a migration works here, though something else may not',
    fails: 'none does, or the guest that is asked about would not fit',
  });
}
