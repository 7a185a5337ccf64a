/** Running comparisons: every contender once a round, in an order that turns around from round to round. */
import type { Comparison, Contender, Sample } from './benchmark.ts';
import { ratiosTo, type Spread, spreadOf } from './statistics.ts';

/** What one contender came to. */
export interface ContenderResult {
  readonly name: string;
  readonly samples: readonly Sample[];
  /** MiB a second. */
  readonly throughput: Spread;
  readonly figures: Readonly<Record<string, Spread>>;
  /** Its throughput over the baseline's of the same round; absent where there is no baseline. */
  readonly ratio?: Spread;
  /** The same of figures that are compared. */
  readonly ratios?: Readonly<Record<string, Spread>>;
}

export interface ComparisonResult {
  readonly name: string;
  readonly baseline?: string;
  readonly contenders: readonly ContenderResult[];
}

/** Who runs when: there and back, so that neither always runs in the other's wake. */
export function orderOf<T>(contenders: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? contenders : [...contenders].reverse();
}

/** `onRun` hears of each run as it begins. */
export async function runRounds(
  comparison: Comparison,
  rounds: number,
  onRun: (contender: Contender, round: number) => void,
): Promise<ComparisonResult> {
  const samples = new Map(comparison.contenders.map((contender) => [contender.name, [] as Sample[]]));
  for (let round = 0; round < rounds; round += 1) {
    for (const contender of orderOf(comparison.contenders, round)) {
      onRun(contender, round);
      samples.get(contender.name)?.push(await contender.run());
    }
  }
  return resultOf(comparison, samples);
}

function resultOf(
  { name, baseline, contenders, compared = [] }: Comparison,
  samples: ReadonlyMap<string, readonly Sample[]>,
): ComparisonResult {
  const figuresOf = (of: string, figure: string): number[] =>
    (samples.get(of) ?? []).map(({ figures }) => figures[figure]);
  const throughputs = (of: string): number[] => (samples.get(of) ?? []).map(({ throughput }) => throughput);
  const results = contenders.map((contender): ContenderResult => {
    const own = samples.get(contender.name) ?? [];
    const figures = Object.keys(own[0].figures);
    return {
      name: contender.name,
      samples: own,
      throughput: spreadOf(throughputs(contender.name)),
      figures: Object.fromEntries(figures.map((figure) => [figure, spreadOf(own.map((one) => one.figures[figure]))])),
      ...(baseline === undefined || baseline === contender.name
        ? {}
        : {
            ratio: ratiosTo(throughputs(baseline), throughputs(contender.name)),
            ratios: Object.fromEntries(
              compared.map((figure) => [
                figure,
                ratiosTo(figuresOf(baseline, figure), figuresOf(contender.name, figure)),
              ]),
            ),
          }),
    };
  });
  return { name, contenders: results, ...(baseline === undefined ? {} : { baseline }) };
}
