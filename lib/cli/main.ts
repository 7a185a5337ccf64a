#!/usr/bin/env node
/**
 * The command `postcopy`. Results go to stdout (with --json one object as its last line), all else to
 * stderr. Exit code 0 only on success, 1 on failure, 2 for a command line that can't be understood,
 * 130 when interrupted.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import pc from 'picocolors';
import { describeError, MigrationError } from '../errors.js';
import { probeHost } from '../host/probe.js';
import type { MemoryKind } from '../memory/ram-block.js';
import { runDemo } from './demo.js';
import { demoTable } from './demo-report.js';
import { addInspectCommand } from './inspect-command.js';
import { probeTable } from './probe-table.js';
import { parseMs, parseRate, parseSize } from './size.js';

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
const EXIT_INTERRUPTED = 130;

/** A commander option parser from one that throws BAD_ARGUMENT. */
function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(describeError(error));
    }
  };
}

/** A number from `min` to `max`. */
function number(min: number, max: number, whole = true): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
      throw new InvalidArgumentError(`Give a ${whole ? 'whole ' : ''}number from ${min} to ${max}.`);
    }
    return value;
  };
}

/** An option whose default is shown, and read, as people write it. */
function sized(flags: string, description: string, parse: (text: string) => number, preset: string): Option {
  return new Option(flags, description).argParser(argument(parse)).default(parse(preset), preset);
}

function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

interface DemoOptions {
  readonly memory: number;
  readonly memoryKind: MemoryKind;
  readonly blocks: number;
  readonly guest: 'auto' | 'kvm' | 'stress';
  readonly transport: 'unix' | 'tcp';
  readonly precopyPasses: number;
  readonly vcpus: number;
  readonly writesPerSecond: number;
  readonly workingSet: number;
  readonly maxBandwidth: number;
  readonly maxPostcopyBandwidth: number;
  readonly downtimeLimit: number;
  readonly autoConverge?: boolean;
  readonly trace?: string;
  readonly json?: boolean;
}

/** Aborted by the first Ctrl-C or SIGTERM; the second ends this process at once, and its children see that. */
function onInterrupt(): AbortSignal {
  const controller = new AbortController();
  const interrupt = () => (controller.signal.aborted ? process.exit(EXIT_INTERRUPTED) : controller.abort());
  // Not once(): a library that finds itself the last listener of a signal ends the process.
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return controller.signal;
}

async function demo(options: DemoOptions): Promise<void> {
  if (options.guest === 'kvm') {
    throw new MigrationError('GUEST_UNAVAILABLE', 'this version has no KVM guest yet');
  }
  const { memoryKind: kind, workingSet: workingSetShare, autoConverge = false, trace } = options;
  const { memory, blocks, transport, precopyPasses, vcpus, writesPerSecond } = options;
  const { maxBandwidth, maxPostcopyBandwidth, downtimeLimit } = options;
  const report = await runDemo(
    {
      memory: Math.ceil(memory / 4096) * 4096,
      kind,
      blocks,
      transport,
      precopyPasses,
      vcpus,
      writesPerSecond,
      workingSetShare,
      maxBandwidth,
      maxPostcopyBandwidth,
      downtimeLimit,
      autoConverge,
    },
    trace,
    onInterrupt(),
  );
  if (options.json) printJson(report);
  else process.stdout.write(`${demoTable(report)}\n`);
  if (!report.verified) process.exitCode = EXIT_FAILURE;
}

function probe(options: { readonly json?: boolean }): void {
  const result = probeHost();
  if (options.json) printJson(result);
  else process.stdout.write(`${probeTable(result)}\n`);
  if (!result.userfaultfd.available) process.exitCode = EXIT_FAILURE;
}

function program(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const postcopy = new Command('postcopy')
    .description("Postcopy live migration on real userfaultfd, in QEMU's stream format")
    .version(version)
    .exitOverride()
    .showHelpAfterError('(run with --help for what there is)');
  postcopy
    .command('probe')
    .description('what this host can do, and how to allow what it cannot')
    .option('--json', 'print one JSON object')
    .action(probe);
  postcopy
    .command('demo')
    .description('migrate a running guest between two processes, and check that nothing was lost')
    .addOption(sized('--memory <size>', "the guest's RAM, such as 256M or 1G", parseSize, '256M'))
    .addOption(
      new Option('--memory-kind <kind>', 'what its RAM is; hugetlb is pages of 2 MiB, which must be reserved')
        .choices(['anonymous', 'memfd', 'hugetlb'])
        .default('anonymous'),
    )
    .option('--blocks <n>', 'RAM blocks that it is split over', number(1, 64), 1)
    .addOption(new Option('--guest <guest>', 'what runs in it').choices(['auto', 'kvm', 'stress']).default('auto'))
    .addOption(
      new Option('--transport <transport>', 'how the two processes talk').choices(['unix', 'tcp']).default('unix'),
    )
    .option('--precopy-passes <n>', 'whole passes before the switch; 0 switches at once', number(0, 1000), 1)
    .option('--vcpus <n>', 'native threads that write', number(1, 64), 1)
    .option(
      '--writes-per-second <n>',
      'page writes a second, over all vCPUs; 0 is as fast as they go',
      number(0, 1e9),
      20_000,
    )
    .option('--working-set <share>', 'share of RAM that is rewritten', number(0.0001, 0.875, false), 0.25)
    .addOption(sized('--max-bandwidth <rate>', 'in precopy, such as 100M/s or 1Gbit; 0 is no limit', parseRate, '0'))
    .addOption(sized('--max-postcopy-bandwidth <rate>', 'the same for background pages in postcopy', parseRate, '0'))
    .addOption(sized('--downtime-limit <time>', 'the longest standstill at the end of a precopy', parseMs, '300ms'))
    .option('--auto-converge', 'slow the guest down when it writes faster than can be sent; give it --precopy-passes')
    .option('--trace <file>', 'write what every thread did, for ui.perfetto.dev')
    .option('--json', 'print one JSON object as the last line')
    .action(demo);
  addInspectCommand(postcopy);
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
  await program().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
