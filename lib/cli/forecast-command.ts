/**
 * `postcopy forecast`: whether a precopy of a guest would end, by figures alone: how it writes, what the link lets by.
 * The dirty rate is what calc-dirty-rate of a QEMU measures. Exit code 0 where it would end, else 1.
 */
import type { Command } from 'commander';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { type DirtyCurve, stillCurve } from '../source/dirty-curve.js';
import { forecast } from '../source/forecast.js';
import { argument, EXIT_FAILURE, printJson, sized } from './command-line.js';
import { forecastLines } from './forecast-text.js';
import { addHelp } from './help.js';
import { parseMs, parseRate, parseSize } from './size.js';

interface ForecastCommandOptions {
  readonly memory: number;
  readonly bandwidth: number;
  readonly dirtyRate: number;
  readonly workingSet?: number;
  readonly downtimeLimit: number;
  readonly json?: boolean;
}

/** The curve in which so many different bytes are written in a second: to the working set, or else to all of RAM. */
function curveOf({ memory, dirtyRate, workingSet = memory }: ForecastCommandOptions): DirtyCurve {
  const pages = Math.max(1, workingSet / TARGET_PAGE_SIZE);
  const inASecond = Math.min(dirtyRate / TARGET_PAGE_SIZE, pages * 0.999);
  if (inASecond === 0) return stillCurve;
  return { writesPerSecond: -Math.log1p(-inASecond / pages) * pages, workingSetPages: pages };
}

function run(options: ForecastCommandOptions, command: Command): void {
  const { memory, bandwidth, downtimeLimit, workingSet = memory, json } = options;
  if (bandwidth === 0) command.error('error: --bandwidth is 0: give what the link carries, such as 10Gbit');
  if (workingSet > memory) command.error('error: --working-set is larger than --memory');
  const result = forecast({ curve: curveOf(options), bandwidth, downtimeLimit, remaining: memory, total: memory });
  if (json) printJson(result);
  else process.stdout.write(`${forecastLines(result, downtimeLimit).join('\n')}\n`);
  if (!result.converges) process.exitCode = EXIT_FAILURE;
}

/** Gives the command its options, and what it does. */
export function define(command: Command): void {
  command
    .requiredOption('--memory <size>', "the guest's RAM, such as 64G", argument(parseSize))
    .requiredOption('--bandwidth <rate>', 'what the link carries, such as 10Gbit or 400M/s', argument(parseRate))
    .requiredOption(
      '--dirty-rate <rate>',
      'different pages that it writes in a second, such as 300M/s',
      argument(parseRate),
    )
    .option(
      '--working-set <size>',
      'what it writes again and again, such as 2G; all of RAM when left out',
      argument(parseSize),
    )
    .addOption(sized('--downtime-limit <time>', 'the longest standstill at the end of the precopy', parseMs, '300ms'))
    .option('--json', 'print one JSON object')
    .action(run);
  addHelp(command, {
    about:
      'From figures alone, no guest is looked at: how much it writes, what the link carries (docs/convergence.md).',
    examples: [
      {
        line: 'postcopy forecast --memory 64G --bandwidth 10Gbit --dirty-rate 300M/s',
        does: 'When a precopy would end:',
      },
      {
        line: 'postcopy forecast --memory 64G --bandwidth 10Gbit --dirty-rate 1500M/s --working-set 8G',
        does: 'One that never does, and what would help:',
      },
    ],
    succeeds: 'the precopy would end',
    fails: 'it never would',
  });
}
