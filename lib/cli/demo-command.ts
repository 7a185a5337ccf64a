/**
 * The command `postcopy demo`: what it is asked for, and what it reports. Exit code 0 where the guest has moved and
 * every page was right, else 1, 130 when interrupted.
 */
import { type Command, Option } from 'commander';
import { probeKvm } from '../host/kvm.js';
import { probeHost } from '../host/probe.js';
import type { MemoryKind } from '../memory/ram-block.js';
import type { PrefetchPolicy } from '../options.js';
import { chooseGuest } from './choose-guest.js';
import { argument, EXIT_FAILURE, number, onInterrupt, printJson, sized } from './command-line.js';
import { lanesOption, prefetchOption } from './demand-options.js';
import { runDemo } from './demo.js';
import { type DemoGuestName, demoGuestNames } from './demo-guest.js';
import { demoTable } from './demo-report.js';
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
  readonly prefetch: PrefetchPolicy;
  readonly lanes: number;
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
  const { postcopyPreempt = false, cutEvery = null, prefetch, lanes } = options;
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
      prefetch,
      lanes,
      cutEvery,
    },
    trace,
    onInterrupt(),
  );
  if (options.json) printJson(report);
  else process.stdout.write(`${demoTable(report)}\n`);
  if (!report.verified) process.exitCode = EXIT_FAILURE;
}

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  command
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
    .addOption(prefetchOption())
    .addOption(lanesOption())
    .option(
      '--cut-every <time>',
      'cut the connection in postcopy each time it has lasted so long, such as 50ms, and see it recover',
      argument(parsePeriod),
    )
    .option('--trace <file>', 'write what every thread did, for ui.perfetto.dev')
    .option('--json', 'print one JSON object as the last line')
    .action(demo);
}
