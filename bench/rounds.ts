/** Running comparisons: every contender once a round, in an order that turns around from round to round. */
import type { Comparison, Contender, Sample } from './benchmark.ts';
import { ratiosTo, type Spread, spreadOf } from './statistics.ts';

/** What one contender came to. */
export interface ContenderResult {
  readonly name: string;
  readonly samples: readonly Sample[];
  /** In the comparison's unit, a second; absent where only figures are told. */
  readonly throughput?: Spread;
  readonly figures: Readonly<Record<string, Spread>>;
  /** Its throughput over the baseline's of the same round; absent where there is no baseline. */
  readonly ratio?: Spread;
  /** The same of figures that are compared. */
  readonly ratios?: Readonly<Record<string, Spread>>;
  /** Its part of what the host can do; absent where that is not measured. */
  readonly ofLimit?: Spread;
}

export interface ComparisonResult {
  readonly name: string;
  readonly unit: string;
  readonly baseline?: string;
  readonly limit?: string;
  /** Why nothing was run. */
  readonly unavailable?: string;
  readonly compared: readonly string[];
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
  const { name, unit = 'MiB', compared = [], unavailable } = comparison;
  if (unavailable !== undefined) return { name, unit, unavailable, compared, contenders: [] };
  const samples = new Map(comparison.contenders.map((contender) => [contender.name, [] as Sample[]]));
  for (let round = 0; round < rounds; round += 1) {
    for (const contender of orderOf(comparison.contenders, round)) {
      onRun(contender, round);
      const sample = await contender.run();
      for (const [figure, value] of Object.entries(sample.figures)) {
        if (!Number.isFinite(value)) throw new Error(`${comparison.name}, ${contender.name}: ${figure} is ${value}`);
      }
      samples.get(contender.name)?.push(sample);
    }
  }
  return resultOf(comparison, samples);
}

type Samples = ReadonlyMap<string, readonly Sample[]>;

/** Of each round; none where there is no throughput. */
function throughputsOf(samples: Samples, name: string | undefined): readonly number[] {
  if (name === undefined) return [];
  return (samples.get(name) ?? []).flatMap(({ throughput }) => (throughput === undefined ? [] : [throughput]));
}

function figuresOf(samples: Samples, name: string, figure: string): readonly number[] {
  return (samples.get(name) ?? []).map(({ figures }) => figures[figure]);
}

/** What is told of a contender beside another of the comparison. */
function heldAgainst(
  { baseline, limit, compared = [] }: Comparison,
  name: string,
  samples: Samples,
): Pick<ContenderResult, 'ratio' | 'ratios' | 'ofLimit'> {
  const own = throughputsOf(samples, name);
  const theirs = throughputsOf(samples, baseline);
  const most = throughputsOf(samples, limit);
  const isCompared = baseline !== undefined && baseline !== name;
  // Of a figure that is 0, or that only one of the two has, nothing is told.
  const isTold = (figure: string): boolean =>
    [name, baseline ?? name].every((each) => figuresOf(samples, each, figure).every((value) => value > 0));
  const told = compared.filter(isTold);
  const ratioOf = (figure: string) =>
    ratiosTo(figuresOf(samples, baseline ?? name, figure), figuresOf(samples, name, figure));
  return {
    ...(isCompared && own.length > 0 && theirs.length > 0 ? { ratio: ratiosTo(theirs, own) } : {}),
    ...(isCompared ? { ratios: Object.fromEntries(told.map((figure) => [figure, ratioOf(figure)])) } : {}),
    ...(most.length > 0 && own.length > 0 && limit !== name ? { ofLimit: ratiosTo(most, own) } : {}),
  };
}

function resultOf(comparison: Comparison, samples: Samples): ComparisonResult {
  const { name, unit = 'MiB', baseline, limit, compared = [], contenders } = comparison;
  const results = contenders.map((contender): ContenderResult => {
    const own = samples.get(contender.name) ?? [];
    const throughputs = throughputsOf(samples, contender.name);
    const spreads = Object.keys(own[0].figures).map((figure) => [
      figure,
      spreadOf(figuresOf(samples, contender.name, figure)),
    ]);
    return {
      name: contender.name,
      samples: own,
      ...(throughputs.length > 0 ? { throughput: spreadOf(throughputs) } : {}),
      figures: Object.fromEntries(spreads),
      ...heldAgainst(comparison, contender.name, samples),
    };
  });
  const held = { ...(baseline === undefined ? {} : { baseline }), ...(limit === undefined ? {} : { limit }) };
  return { name, unit, ...held, compared, contenders: results };
}
