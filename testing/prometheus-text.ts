/**
 * Reads the text format of Prometheus as strictly as a Prometheus does: each sample of a family that is told of, names,
 * labels and values as they are written, no sample twice, and histograms that add up.
 */

export interface PrometheusSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface PrometheusFamily {
  readonly help: string;
  readonly type: string;
  readonly samples: readonly PrometheusSample[];
}

const head = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/;
const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const label = /([a-zA-Z_]\w*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y;

function readLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let at = 0;
  while (at < text.length) {
    label.lastIndex = at;
    const match = label.exec(text);
    if (match === null) throw new Error(`no label at ${at} of {${text}}`);
    if (Object.hasOwn(labels, match[1])) throw new Error(`two labels ${match[1]} in {${text}}`);
    labels[match[1]] = match[2];
    at = label.lastIndex;
  }
  return labels;
}

function readValue(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY;
  const value = Number(text);
  if (Number.isNaN(value) && text !== 'NaN') throw new Error(`${text} is no value`);
  return value;
}

function familyOf(name: string, types: ReadonlyMap<string, string>): string {
  const stem = name.replace(/_(bucket|sum|count)$/, '');
  if (types.get(stem) === 'histogram') return stem;
  if (!types.has(name)) throw new Error(`a sample of ${name}, of which nothing was told`);
  return name;
}

/** Throws at the first thing that is not as it has to be. */
export function readPrometheusText(text: string): Map<string, PrometheusFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const help = new Map<string, string>();
  const types = new Map<string, string>();
  const samples = new Map<string, PrometheusSample[]>();
  const seen = new Set<string>();
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, kind, named, said] = head.exec(line) ?? [];
    if (kind !== undefined) {
      const into = kind === 'HELP' ? help : types;
      if (into.has(named)) throw new Error(`a second ${kind} of ${named}`);
      into.set(named, said);
      samples.set(named, samples.get(named) ?? []);
      continue;
    }
    const [, name, labels = '', value] = sample.exec(line) ?? [];
    if (name === undefined) throw new Error(`no sample: ${line}`);
    if (seen.has(`${name}{${labels}`)) throw new Error(`a second sample of ${name}{${labels}}`);
    seen.add(`${name}{${labels}`);
    samples.get(familyOf(name, types))?.push({ name, labels: readLabels(labels), value: readValue(value) });
  }
  return new Map(
    [...types].map(([name, type]) => [name, { type, help: help.get(name) ?? '', samples: samples.get(name) ?? [] }]),
  );
}
