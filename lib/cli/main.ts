#!/usr/bin/env node
/**
 * The command `postcopy`. Results go to stdout (with --json one object as its last line), all else to
 * stderr. Exit code 0 only on success, 1 on failure, 2 for a command line that can't be understood,
 * 130 when interrupted.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import pc from 'picocolors';
import { describeError, MigrationError } from '../errors.js';
import { probeKvm } from '../host/kvm.js';
import { probeHost } from '../host/probe.js';
import type { MemoryKind } from '../memory/ram-block.js';
import { addBenchCommand } from './bench-command.js';
import { chooseGuest } from './choose-guest.js';
import {
  argument,
  EXIT_FAILURE,
  EXIT_INTERRUPTED,
  EXIT_USAGE,
  number,
  onInterrupt,
  printJson,
  sized,
} from './command-line.js';
import { runDemo } from './demo.js';
import { type DemoGuestName, demoGuestNames } from './demo-guest.js';
import { demoTable } from './demo-report.js';
import { addInspectCommand } from './inspect-command.js';
import { probeTable } from './probe-table.js';
import { addReceiveCommand } from './receive-command.js';
import { addReconcileCommand } from './reconcile-command.js';
import { addRelayCommand } from './relay-command.js';
import { addSendCommand } from './send-command.js';
import { parseMs, parsePeriod, parseRate, parseSize } from './size.js';

interface DemoOptions {
  readonly memory: number;
  readonly memoryKind: MemoryKind;
  readonly blocks: number;
  readonly guest: 'auto' | DemoGuestName;
  readonly transport: 'unix' | 'tcp';
  readonly precopyPasses: number;
  readonly vcpus: number;
  readonly writesPerSecond: number;
  readonly workingSet: number;
  readonly maxBandwidth: number;
  readonly maxPostcopyBandwidth: number;
  readonly downtimeLimit: number;
  readonly autoConverge?: boolean;
  readonly postcopyPreempt?: boolean;
  readonly cutEvery?: number;
  readonly trace?: string;
  readonly json?: boolean;
}

async function demo(options: DemoOptions): Promise<void> {
  const { guest, because } = chooseGuest(options, {
    kvmProblem: probeKvm().problem,
    userfaultfdVia: probeHost().userfaultfd.via,
  });
  if (because !== undefined) {
    process.stderr.write(`the stress guest, as no KVM guest can run here: ${because.what} (${because.fix})\n`);
  }
  const { memoryKind: kind, workingSet: workingSetShare, autoConverge = false, trace } = options;
  const { postcopyPreempt = false, cutEvery = null } = options;
  const { memory, blocks, transport, precopyPasses, vcpus, writesPerSecond } = options;
  const { maxBandwidth, maxPostcopyBandwidth, downtimeLimit } = options;
  const report = await runDemo(
    {
      guest,
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
      postcopyPreempt,
      cutEvery,
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
    .addOption(
      new Option('--guest <guest>', 'what runs in it; auto: a virtual machine where KVM allows, else the stress guest')
        .choices(['auto', ...demoGuestNames])
        .default('auto'),
    )
    .addOption(
      new Option('--transport <transport>', 'how the two processes talk').choices(['unix', 'tcp']).default('unix'),
    )
    .option('--precopy-passes <n>', 'whole passes before the switch; 0 switches at once', number(0, 1000), 1)
    .option('--vcpus <n>', 'vCPUs of the KVM guest, native threads of the stress guest', number(1, 64), 1)
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
    .option('--postcopy-preempt', 'send pages that are asked for on a connection of their own')
    .option(
      '--cut-every <time>',
      'cut the connection in postcopy each time it has lasted so long, such as 50ms, and see it recover',
      argument(parsePeriod),
    )
    .option('--trace <file>', 'write what every thread did, for ui.perfetto.dev')
    .option('--json', 'print one JSON object as the last line')
    .action(demo);
  addBenchCommand(postcopy);
  addInspectCommand(postcopy);
  addRelayCommand(postcopy);
  addReceiveCommand(postcopy);
  addSendCommand(postcopy);
  addReconcileCommand(postcopy);
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
