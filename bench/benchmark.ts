/** What a benchmark is: comparisons, each of contenders that do the same in turn. No I/O. */
import type { Transport } from '../testing/qemu/migrate.ts';

/** One measurement: what is compared, and what else was seen. */
export interface Sample {
  /** MiB of RAM a second: more is better. */
  readonly throughput: number;
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
  /** Which contender the others are held against; absent where they are not alike. */
  readonly baseline?: string;
  /** Figures whose ratios to the baseline's are told as well. */
  readonly compared?: readonly string[];
}

export type Mode = 'precopy' | 'postcopy';

export interface BenchOptions {
  /** Bytes of the guest's RAM: whole pages. */
  readonly memoryBytes: number;
  readonly rounds: number;
  readonly transports: readonly Transport[];
  readonly modes: readonly Mode[];
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
  open(options: BenchOptions): Promise<OpenBenchmark>;
}

export const MIB = 1024 * 1024;

/** Of something that moved `bytes` in `ms` milliseconds. */
export function mibPerSecond(bytes: number, ms: number): number {
  return bytes / MIB / (ms / 1000);
}
