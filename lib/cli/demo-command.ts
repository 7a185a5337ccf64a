/**
 * The command `postcopy demo`: what it is asked for, and what it reports. Exit code 0 where the guest has moved and
 * every page was right, else 1, 130 when interrupted.
 */
import { type Command, Option } from 'commander';
import type { Observer } from '../dashboard/observer.js';
import type { PrefetchPolicy } from '../options.js';
import { argument, EXIT_FAILURE, number, onInterrupt, printJson, sized } from './command-line.js';
import { lanesOption, prefetchOption } from './demand-options.js';
import { runDemo } from './demo.js';
import { DemoMetrics } from './demo-metrics.js';
import { createDemoProgress } from './demo-progress.js';
import { demoTable } from './demo-report.js';
import { addGuestOptions, chosenGuest, type GuestOptions, guestSettings } from './guest-options.js';
import { addHelp } from './help.js';
import { addLogOptions, type LogOptions } from './log-options.js';
import { addMetricsOptions, type MetricsOptions, openMetrics, type ServedMetrics } from './metrics-options.js';
import { formatBytes, parseMs, parsePeriod, parseRate } from './size.js';
import { addWatchOptions, closeObserver, openObserver, type WatchOptions } from './watch-options.js';

interface DemoOptions extends GuestOptions, LogOptions, MetricsOptions, WatchOptions {
  readonly transport: 'unix' | 'tcp';
  readonly precopyPasses: number;
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

/** On a terminal somebody may still look at it. */
async function keepDashboard(
  url: string | undefined,
  interrupted: AbortSignal,
  tell: (text: string) => void,
): Promise<void> {
  if (url === undefined || !process.stdin.isTTY || !process.stderr.isTTY || interrupted.aborted) return;
  tell(`the dashboard stays at ${url} until Ctrl-C`);
  await new Promise((resolve) => interrupted.addEventListener('abort', resolve));
}

async function demo(options: DemoOptions): Promise<void> {
  const { autoConverge = false, postcopyPreempt = false, cutEvery = null, prefetch, lanes, trace } = options;
  const { transport, precopyPasses, maxBandwidth, maxPostcopyBandwidth, downtimeLimit } = options;
  const progress = await createDemoProgress(options);
  const wish = {
    guest: chosenGuest(options, progress.event),
    ...guestSettings(options),
    transport,
    precopyPasses,
    maxBandwidth,
    maxPostcopyBandwidth,
    downtimeLimit,
    autoConverge,
    postcopyPreempt,
    prefetch,
    lanes,
    cutEvery,
    countsLatency: options.metrics !== undefined,
  };
  const interrupted = onInterrupt();
  const metrics = new DemoMetrics();
  const title = `demo: ${formatBytes(wish.memory)} of a ${wish.guest} guest over ${transport}`;
  let server: ServedMetrics | undefined;
  let observer: Observer | undefined;
  try {
    server = await openMetrics(options, () => metrics.look(), progress.event);
    observer = await openObserver(options, title, progress.event);
    const report = await runDemo(wish, { trace, observer }, interrupted, metrics.hearing(progress));
    if (options.json) printJson(report);
    else process.stdout.write(`${demoTable(report)}\n`);
    if (!report.verified) process.exitCode = EXIT_FAILURE;
    await keepDashboard(observer?.url, interrupted, progress.event);
  } finally {
    await server?.close();
    await closeObserver(observer, progress.event);
  }
}

const about =
  'Two processes on this host: in one of them a guest writes to its memory all the while. It is migrated to the ' +
  'other over a real socket, with real page faults, and at the end every page is checked for its last write.';

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  addHelp(command, {
    about,
    examples: [
      { line: 'postcopy demo', does: 'One precopy pass, then postcopy:' },
      { line: 'postcopy demo --precopy-passes 0 --memory 1G', does: 'Postcopy at once, of a larger guest:' },
      {
        line: 'postcopy demo --max-bandwidth 100M/s --max-postcopy-bandwidth 1Gbit',
        does: 'As over a slow network:',
      },
      { line: 'postcopy demo --max-postcopy-bandwidth 50M/s --cut-every 100ms', does: 'With a network that breaks:' },
      {
        line: 'postcopy demo --trace trace.json --json',
        does: 'For a script, and what every thread did for Perfetto:',
      },
    ],
    succeeds: 'the guest has moved, and every page was right',
    fails: 'it has not, or a page was wrong',
  });
  addGuestOptions(command.optionsGroup('Guest:'))
    .optionsGroup('Migration:')
    .addOption(
      new Option('--transport <transport>', 'how the two processes talk').choices(['unix', 'tcp']).default('unix'),
    )
    .option('--precopy-passes <n>', 'whole passes before the switch; 0 switches at once', number(0, 1000), 1)
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
    .optionsGroup('Output:')
    .option('--trace <file>', 'write what every thread did, for ui.perfetto.dev')
    .option('--json', 'print one JSON object as the last line')
    .action(demo);
  addWatchOptions(addMetricsOptions(addLogOptions(command)));
}
