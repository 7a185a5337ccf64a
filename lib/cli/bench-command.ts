/**
 * `postcopy bench`: how fast this host moves a guest of ours between two processes, in turn by each way. What needs a
 * QEMU is measured by the benches of the repository. Exit code 0 where every page was right, else 1.
 */
import { type Command, Option } from 'commander';
import { MigrationError } from '../errors.js';
import { resolvePrefetch } from '../options.js';
import { type BenchReport, type BenchWay, benchRow, benchTable, benchWays } from './bench-report.js';
import { number, onInterrupt, printJson, sized } from './command-line.js';
import { runDemo } from './demo.js';
import { createDemoProgress, type DemoProgress } from './demo-progress.js';
import type { DemoReport } from './demo-report.js';
import { addHelp } from './help.js';
import { measurePlacementRate } from './placement-rate.js';
import { formatDuration, parseSize } from './size.js';

interface BenchCommandOptions {
  readonly memory: number;
  readonly rounds: number;
  readonly transport: 'unix' | 'tcp';
  readonly writesPerSecond: number;
  readonly json?: boolean;
}

/** Bytes that placing alone is measured over, at most: enough of them to be steady. */
const PLACEMENT_BYTES = 256 * 1024 * 1024;
/** As a migration has it by default. */
const DOWNTIME_LIMIT_MS = 300;

/** The progress of one migration, which says which of all of them it is, and how long the rest will take. */
async function progressOf(way: BenchWay, done: number, of: number, began: number): Promise<DemoProgress> {
  const progress = await createDemoProgress();
  const leftMs = done === 0 ? undefined : ((performance.now() - began) / done) * (of - done);
  const left = leftMs === undefined ? '' : `, ${formatDuration(leftMs)} left`;
  progress.event(`${done + 1} of ${of}: ${way.name}${left}`);
  return progress;
}

async function moveOnce(
  way: BenchWay,
  options: BenchCommandOptions,
  interrupted: AbortSignal,
  progress: DemoProgress,
): Promise<DemoReport> {
  const { memory, transport, writesPerSecond } = options;
  const { precopyPasses, postcopyPreempt } = way;
  const report = await runDemo(
    {
      ...{ guest: 'stress', memory, kind: 'anonymous', blocks: 1, vcpus: 1, writesPerSecond, workingSetShare: 0.25 },
      ...{ transport, precopyPasses, postcopyPreempt, prefetch: resolvePrefetch(), autoConverge: false },
      ...{ lanes: 0, cutEvery: null, countsLatency: false },
      ...{ maxBandwidth: 0, maxPostcopyBandwidth: 0, downtimeLimit: DOWNTIME_LIMIT_MS },
    },
    {},
    interrupted,
    progress,
  );
  if (!report.verified) throw new MigrationError('GUEST_FAILED', `${way.name}: not every page holds its last write`);
  return report;
}

async function bench(given: BenchCommandOptions): Promise<void> {
  const options = { ...given, memory: Math.ceil(given.memory / 4096) * 4096 };
  const { memory, transport, rounds } = options;
  const interrupted = onInterrupt();
  const reports = new Map<BenchWay, DemoReport[]>(benchWays.map((way) => [way, []]));
  const began = performance.now();
  let moved = 0;
  // In turn, so that whatever disturbs this host disturbs all of them.
  for (let round = 0; round < rounds; round += 1) {
    for (const [way, done] of reports) {
      const progress = await progressOf(way, moved, rounds * benchWays.length, began);
      done.push(await moveOnce(way, options, interrupted, progress));
      moved += 1;
    }
  }
  const report: BenchReport = {
    memoryBytes: memory,
    transport,
    rounds,
    placementBytesPerSecond: measurePlacementRate(Math.min(memory, PLACEMENT_BYTES)),
    ways: [...reports].map(([{ name }, done]) => benchRow(name, done)),
  };
  if (options.json) printJson(report);
  else process.stdout.write(`${benchTable(report)}\n`);
}

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  command
    .addOption(sized('--memory <size>', "the guest's RAM, such as 256M or 1G", parseSize, '512M'))
    .option('--rounds <n>', 'times that it is moved by each way', number(1, 1000), 3)
    .addOption(
      new Option('--transport <transport>', 'how the two processes talk').choices(['unix', 'tcp']).default('unix'),
    )
    .option(
      '--writes-per-second <n>',
      "the guest's page writes a second; 0 is as fast as it goes",
      number(0, 1e9),
      1000,
    )
    .option('--json', 'print one JSON object as the last line')
    .action(bench);
  addHelp(command, {
    about:
      'A guest that writes all the while is moved in rounds: postcopy at once, with a preempt channel, and after one ' +
      'pass of precopy. Beside them stands how fast this host places pages with nothing else going on.',
    examples: [
      { line: 'postcopy bench', does: 'Three rounds of 512 MiB:' },
      { line: 'postcopy bench --memory 4G --rounds 9 --transport tcp', does: 'Longer, and over TCP:' },
      { line: 'postcopy bench --memory 64M --rounds 1 --json', does: 'Quickly, for a script:' },
    ],
    succeeds: 'every page was right each time',
    fails: 'a migration failed, or a page was wrong',
  });
}
