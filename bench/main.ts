/** `npm run bench -- [benchmark …]`: measures, side by side and in turn, and prints what it comes to. */
import { writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Content, MIB, type Mode, zeroShares } from './benchmark.ts';
import { dashboard } from './dashboard.ts';
import { dirty } from './dirty.ts';
import { downtime } from './downtime.ts';
import { faults, faultsUnderLoad } from './faults.ts';
import { describeHost } from './host.ts';
import { latency } from './latency.ts';
import { limits } from './limits.ts';
import { memory } from './memory.ts';
import { qmp } from './qmp.ts';
import { type BenchmarkResult, hostLine, type Report, textOf } from './report.ts';
import { type ComparisonResult, runRounds } from './rounds.ts';
import { throughput } from './throughput.ts';

/** In the order they run. */
const benchmarks: readonly Benchmark[] = [
  limits,
  throughput,
  downtime,
  dirty,
  faults,
  faultsUnderLoad,
  memory,
  latency,
  qmp,
  dashboard,
];

/** Two pages over a round figure: nothing may depend on a round one, and QEMU sizes RAM in steps of 8 KiB. */
const ODD_BYTES = 8192;

interface Given {
  readonly quick?: boolean;
  readonly memory: number;
  readonly rounds: number;
  readonly transport?: readonly Transport[];
  readonly mode: readonly Mode[];
  readonly content?: readonly Content[];
  readonly only?: readonly string[];
  readonly json?: string;
  readonly html?: string;
}

function positive(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('give a whole number above 0');
  return Number(text);
}

const program = new Command('bench')
  .description('Measures this engine beside QEMU, in one run.')
  .argument('[benchmark...]', `which of ${benchmarks.map(({ name }) => name).join(', ')}; all by default`)
  .option('--memory <MiB>', "the guest's RAM", positive, 1024)
  .option('--rounds <n>', 'times that each is run', positive, 5)
  .addOption(new Option('--transport <name...>', 'by default both').choices(['unix', 'tcp']))
  .addOption(new Option('--mode <name...>').choices(['precopy', 'postcopy']).default(['precopy', 'postcopy']))
  .addOption(
    new Option('--content <name...>', 'what RAM holds; by default incompressible, half-zero and all-zero').choices(
      Object.keys(zeroShares),
    ),
  )
  .option('--only <text...>', 'of the comparisons those with such a text in their name')
  .option('--quick', 'one round of 64 MiB over unix, half of it zero: that all of it works, not how fast')
  .option('--json <file>', 'write every figure to a file too')
  .option('--html <file>', 'write plots and tables to a file too');

const { args } = program.parse();
const given = program.opts<Given>();

function chosen(names: readonly string[]): readonly Benchmark[] {
  const unknown = names.find((wanted) => !benchmarks.some(({ name }) => name === wanted));
  if (unknown !== undefined) program.error(`there is no benchmark "${unknown}"`);
  return names.length === 0 ? benchmarks : benchmarks.filter(({ name }) => names.includes(name));
}

function optionsOf({ quick = false, memory: mib, rounds, transport, mode, content }: Given): BenchOptions {
  const contents = content ?? (quick ? ['half-zero'] : ['incompressible', 'half-zero', 'all-zero']);
  const transports = transport ?? (quick ? ['unix'] : ['unix', 'tcp']);
  const common = { transports, modes: mode, contents, quick };
  if (quick) return { ...common, memoryBytes: 64 * MIB + ODD_BYTES, rounds: 1 };
  return { ...common, memoryBytes: mib * MIB + ODD_BYTES, rounds };
}

const isWanted = (comparison: string): boolean => given.only?.some((text) => comparison.includes(text)) ?? true;

async function compare({ open }: Benchmark, options: BenchOptions, content: Content): Promise<ComparisonResult[]> {
  await using benchmark = await open(options, content);
  const results: ComparisonResult[] = [];
  for (const comparison of benchmark.comparisons.filter(({ name }) => isWanted(name))) {
    const result = await runRounds(comparison, options.rounds, (contender, round) => {
      console.error(`${comparison.name}, round ${round + 1} of ${options.rounds}: ${contender.name}`);
    });
    results.push(result);
  }
  return results;
}

async function measure(benchmark: Benchmark, options: BenchOptions): Promise<BenchmarkResult> {
  const comparisons: ComparisonResult[] = [];
  for (const content of benchmark.ofEachContent ? options.contents : options.contents.slice(0, 1)) {
    comparisons.push(...(await compare(benchmark, options, content)));
  }
  return { name: benchmark.name, title: benchmark.title, comparisons };
}

const options = optionsOf(given);
const host = describeHost();
const results: BenchmarkResult[] = [];
console.error(hostLine({ host, options, benchmarks: results }));
for (const benchmark of chosen(args)) results.push(await measure(benchmark, options));
const report: Report = { host, options, benchmarks: results };
console.log(textOf(report));
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(report, undefined, 2)}\n`);
if (given.html !== undefined) {
  // What draws takes a second to load.
  const { htmlOf } = await import('./html.ts');
  writeFileSync(given.html, htmlOf(report));
}
