/** What a benchmark is: comparisons, each of contenders that do the same in turn. No I/O. */
import type { Transport } from '../testing/qemu/migrate.ts';

/** One measurement: what is compared, and what else was seen. */
export interface Sample {
  /** How much a second, in the comparison's unit: more is better. Absent where only figures are told. */
  readonly throughput?: number;
  /** By name with its unit, such as `downtime ms`; each contender of a comparison may have others. */
  readonly figures: Readonly<Record<string, number>>;
}

export interface Contender {
  /** `QEMU → us`. */
  readonly name: string;
  /** Does it once. Throws where the outcome is not right, however fast it came. */
  run(): Promise<Sample>;
}

/** Things that are measured in turn, round after round, so that whatever disturbs the host disturbs all of them. */
export interface Comparison {
  /** `precopy, unix`. */
  readonly name: string;
  readonly contenders: readonly Contender[];
  /** What throughput counts: `MiB` of RAM when absent. */
  readonly unit?: string;
  /** Which contender the others are held against; absent where they are not alike. */
  readonly baseline?: string;
  /** Which contender is no engine but the most that this host can do: the others' part of it is told. */
  readonly limit?: string;
  /** Why it can't be measured here, where it can't: nothing is run then, and this is told. */
  readonly unavailable?: string;
  /** Figures whose ratios to the baseline's are told as well. */
  readonly compared?: readonly string[];
}

export type Mode = 'precopy' | 'postcopy';

/** What the guest's RAM holds, by the part of its pages that are zero; no other page can be compressed. */
export const zeroShares = {
  incompressible: 0,
  'quarter-zero': 1 / 4,
  'half-zero': 1 / 2,
  'all-zero': 1,
} as const;

export type Content = keyof typeof zeroShares;

export interface BenchOptions {
  /** Bytes of the guest's RAM: whole pages. */
  readonly memoryBytes: number;
  readonly rounds: number;
  readonly transports: readonly Transport[];
  readonly modes: readonly Mode[];
  readonly contents: readonly Content[];
  /** That it works is what counts, not how fast. */
  readonly quick: boolean;
}

/** A benchmark that is ready to run; disposed of, whatever it started is gone. */
export interface OpenBenchmark extends AsyncDisposable {
  readonly comparisons: readonly Comparison[];
}

export interface Benchmark {
  /** As the command line names it. */
  readonly name: string;
  /** What it measures, in a sentence. */
  readonly title: string;
  /** Opened once for each content that is asked for; else once, and the content is its own affair. */
  readonly ofEachContent?: true;
  open(options: BenchOptions, content: Content): Promise<OpenBenchmark>;
}

export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;

/** Of something that moved `bytes` in `ms` milliseconds. */
export function mibPerSecond(bytes: number, ms: number): number {
  return bytes / MIB / (ms / 1000);
}
