/** What `postcopy bench` found, as the JSON that programs read and the table that people read. Pure. */
import Table from 'cli-table3';
import type { DemoReport } from './demo-report.js';
import { formatBytes, formatMs, formatUs } from './size.js';

/** How the guest is moved. */
export interface BenchWay {
  readonly name: string;
  readonly precopyPasses: number;
  readonly postcopyPreempt: boolean;
}

export const benchWays: readonly BenchWay[] = [
  { name: 'postcopy at once', precopyPasses: 0, postcopyPreempt: false },
  { name: 'postcopy at once, preempt', precopyPasses: 0, postcopyPreempt: true },
  { name: 'postcopy after one pass', precopyPasses: 1, postcopyPreempt: false },
];

/** What was measured: the least, the middle one and the most of all rounds. */
export interface BenchSpread {
  readonly least: number;
  readonly median: number;
  readonly most: number;
}

/** What is told of each round. Throughput is the guest's RAM over the whole time, set-up included. */
const measures = {
  bytesPerSecond: ({ memoryBytes, totalTimeMs }) => memoryBytes / (totalTimeMs / 1000),
  downtimeMs: ({ downtimeMs }) => downtimeMs,
  faults: ({ faults }) => faults.count,
  faultP50Us: ({ faults }) => faults.p50Us,
  faultP99Us: ({ faults }) => faults.p99Us,
} satisfies Record<string, (report: DemoReport) => number>;

type Measure = keyof typeof measures;

export type BenchRow = { readonly way: string } & Readonly<Record<Measure, BenchSpread>>;

/** The contract of `postcopy bench --json`. */
export interface BenchReport {
  readonly memoryBytes: number;
  readonly transport: 'unix' | 'tcp';
  readonly rounds: number;
  /** Bytes a second that UFFDIO_COPY places on this host, with nothing else going on: no postcopy is faster. */
  readonly placementBytesPerSecond: number;
  readonly ways: readonly BenchRow[];
}

/** Of at least one value. */
export function benchSpread(values: readonly number[]): BenchSpread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
  return { least: sorted[0], median, most: sorted[sorted.length - 1] };
}

/** From the reports of all rounds, at least one. */
export function benchRow(way: string, rounds: readonly DemoReport[]): BenchRow {
  const names = Object.keys(measures) as Measure[];
  const spreads = names.map((name) => [name, benchSpread(rounds.map(measures[name]))]);
  return { way, ...(Object.fromEntries(spreads) as Record<Measure, BenchSpread>) };
}

const rate = (bytesPerSecond: number): string => `${formatBytes(bytesPerSecond)}/s`;

function spreadText({ least, median, most }: BenchSpread, text: (value: number) => string): string {
  return least === most ? text(median) : `${text(median)} (${text(least)} to ${text(most)})`;
}

export function benchTable({ memoryBytes, transport, rounds, placementBytesPerSecond, ways }: BenchReport): string {
  const head = ['', 'throughput', 'of placing alone', 'downtime', 'fault p50', 'fault p99'];
  const table = new Table({ head, style: { head: [], border: [] } });
  for (const { way, bytesPerSecond, downtimeMs, faultP50Us, faultP99Us } of ways) {
    table.push([
      way,
      spreadText(bytesPerSecond, rate),
      `${Math.round((100 * bytesPerSecond.median) / placementBytesPerSecond)} %`,
      spreadText(downtimeMs, formatMs),
      spreadText(faultP50Us, formatUs),
      spreadText(faultP99Us, formatUs),
    ]);
  }
  const what = `${formatBytes(memoryBytes)} over ${transport}, ${rounds === 1 ? '1 round' : `${rounds} rounds`}`;
  const limit = `This host places ${rate(placementBytesPerSecond)} with UFFDIO_COPY alone.`;
  return `${what}: medians, and the least to the most.\n${table.toString()}\n${limit}`;
}
