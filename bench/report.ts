/** What a run of benchmarks comes to, as tables for the terminal and as JSON. */
import Table from 'cli-table3';
import type { BenchOptions } from './benchmark.ts';
import { MIB } from './benchmark.ts';
import type { Host } from './host.ts';
import type { ComparisonResult, ContenderResult } from './rounds.ts';
import type { Spread } from './statistics.ts';

export interface BenchmarkResult {
  readonly name: string;
  readonly title: string;
  readonly comparisons: readonly ComparisonResult[];
}

/** What `--json` writes. */
export interface Report {
  readonly host: Host;
  readonly options: BenchOptions;
  readonly benchmarks: readonly BenchmarkResult[];
}

/** Three digits that count, or more. */
const plain = (value: number): string => value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
const factor = (value: number): string => value.toFixed(2);

/** `median (least … most)`. */
function show({ least, median, most }: Spread, format = plain): string {
  return least === most ? format(median) : `${format(median)} (${format(least)} … ${format(most)})`;
}

const shown = (spread: Spread | undefined, format = plain): string =>
  spread === undefined ? '' : show(spread, format);

export const columns = [
  'comparison',
  'who',
  'a second (least … most)',
  'ratio',
  'of the limit',
  'medians of what else was seen',
];

function rowOf({ name: comparison, unit }: ComparisonResult, contender: ContenderResult): string[] {
  const { name, throughput, ratio, ratios = {}, ofLimit, figures } = contender;
  const others = Object.entries(figures).map(([figure, spread]) => {
    const times = ratios[figure] === undefined ? '' : ` (${factor(ratios[figure].median)} of the baseline's)`;
    return `${figure} ${plain(spread.median)}${times}`;
  });
  const rate = throughput === undefined ? '' : `${show(throughput)} ${unit}`;
  return [comparison, name, rate, shown(ratio, factor), shown(ofLimit, factor), others.join(', ')];
}

export function rowsOf({ comparisons }: BenchmarkResult): string[][] {
  return comparisons.flatMap((each) => {
    if (each.unavailable !== undefined) return [[each.name, '', '', '', '', `not measured: ${each.unavailable}`]];
    return each.contenders.map((contender) => rowOf(each, contender));
  });
}

export function hostLine({ host, options }: Report): string {
  const { cores, processor, memoryMib, kernel, transparentHugepages, node, qemu } = host;
  return [
    `${cores} cores (${processor}), ${Math.round(memoryMib / 1024)} GiB`,
    `Linux ${kernel}, transparent huge pages "${transparentHugepages}"`,
    `Node ${node}, QEMU ${qemu}`,
    `RAM of ${options.memoryBytes / MIB} MiB, ${options.rounds} rounds`,
  ].join('; ');
}

/** In Markdown's form, so that it can be kept as it was printed. */
export function tableOf(benchmark: BenchmarkResult): string {
  const border = { left: '| ', middle: ' | ', right: ' |' };
  const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '' };
  const table = new Table({
    chars: {
      ...none,
      ...border,
      'bottom-left': '',
      'bottom-right': '',
      mid: '',
      'left-mid': '',
      'mid-mid': '',
      'right-mid': '',
    },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  table.push(
    columns,
    columns.map(() => '---'),
    ...rowsOf(benchmark),
  );
  return table.toString();
}

export function textOf(report: Report): string {
  const parts = report.benchmarks.map((benchmark) => `${benchmark.title}\n\n${tableOf(benchmark)}`);
  return [hostLine(report), ...parts].join('\n\n');
}
