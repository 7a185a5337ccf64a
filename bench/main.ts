/** `npm run bench -- [benchmark …]`: measures, side by side and in turn, and prints what it comes to. */
import { writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, MIB, type Mode } from './benchmark.ts';
import { describeHost } from './host.ts';
import { latency } from './latency.ts';
import { receive } from './receive.ts';
import { type BenchmarkResult, hostLine, type Report, textOf } from './report.ts';
import { runRounds } from './rounds.ts';
import { send } from './send.ts';

/** In the order they run. */
const benchmarks: readonly Benchmark[] = [receive, send, latency];

/** Two pages over a round figure: nothing may depend on a round one, and QEMU sizes RAM in steps of 8 KiB. */
const ODD_BYTES = 8192;

interface Given {
  readonly quick?: true;
  readonly memory: number;
  readonly rounds: number;
  readonly transport: readonly Transport[];
  readonly mode: readonly Mode[];
  readonly json?: string;
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
  .addOption(new Option('--transport <name...>').choices(['unix', 'tcp']).default(['unix', 'tcp']))
  .addOption(new Option('--mode <name...>').choices(['precopy', 'postcopy']).default(['precopy', 'postcopy']))
  .option('--quick', 'one round of 64 MiB: that all of it works, not how fast')
  .option('--json <file>', 'write every figure to a file too');

function chosen(names: readonly string[]): readonly Benchmark[] {
  const unknown = names.find((wanted) => !benchmarks.some(({ name }) => name === wanted));
  if (unknown !== undefined) program.error(`there is no benchmark "${unknown}"`);
  return names.length === 0 ? benchmarks : benchmarks.filter(({ name }) => names.includes(name));
}

function optionsOf({ quick, memory, rounds, transport, mode }: Given): BenchOptions {
  const common = { transports: transport, modes: mode };
  if (quick) return { ...common, memoryBytes: 64 * MIB + ODD_BYTES, rounds: 1 };
  return { ...common, memoryBytes: memory * MIB + ODD_BYTES, rounds };
}

async function measure({ name, title, open }: Benchmark, options: BenchOptions): Promise<BenchmarkResult> {
  await using benchmark = await open(options);
  const comparisons = [];
  for (const comparison of benchmark.comparisons) {
    const result = await runRounds(comparison, options.rounds, (contender, round) => {
      console.error(`${comparison.name}, round ${round + 1} of ${options.rounds}: ${contender.name}`);
    });
    comparisons.push(result);
  }
  return { name, title, comparisons };
}

const { args } = program.parse();
const given = program.opts<Given>();
const options = optionsOf(given);
const host = describeHost();
const results: BenchmarkResult[] = [];
console.error(hostLine({ host, options, benchmarks: results }));
for (const benchmark of chosen(args)) results.push(await measure(benchmark, options));
const report: Report = { host, options, benchmarks: results };
console.log(textOf(report));
if (given.json !== undefined) writeFileSync(given.json, `${JSON.stringify(report, undefined, 2)}\n`);
