/** docs/tracing.md names every trace point as the table has it, in its order, and says what it means. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type TracePoint, tracePointNames, tracePoints } from '#lib/trace/trace-points.js';

const doc = readFileSync(new URL('../../docs/tracing.md', import.meta.url), 'utf8');

/** The rows of the document's tables of points, without what they mean. */
const rows = [...doc.matchAll(/^(\| `[a-z0-9_]+` \| \S+ \|.*\|) (\S.*) \|$/gm)].map(([, row, meaning]) => ({
  row,
  meaning,
}));

function rowOf(name: string, { step, values }: TracePoint): string {
  const told = Object.entries(values).map(([value, kind]) => (value === kind ? value : `${value} (${kind})`));
  return `| \`${name}\` | ${step} | ${told.join(', ')} |`;
}

test('has a row for every point, in the order of the table, and no other', () => {
  expect(rows.map(({ row }) => row)).toEqual(tracePointNames.map((name) => rowOf(name, tracePoints[name])));
});

test.each(tracePointNames)('says what %s means, and the span it opens or closes', (name) => {
  const { span }: TracePoint = tracePoints[name];
  const meaning = rows.find(({ row }) => row.startsWith(`| \`${name}\``))?.meaning ?? '';
  expect(meaning).toMatch(/^[A-Z].{5,}\.$/);
  const told = /(Opens|Closes) \*(.+)\*\.$/.exec(meaning)?.slice(1);
  expect(told).toEqual(span && [span[0] === 'begin' ? 'Opens' : 'Closes', span[1]]);
});

test('each thread’s points stand under the side that the step belongs to', () => {
  const sections = doc.split(/^### /m).slice(1);
  expect(sections.length).toBeGreaterThan(4);
  for (const section of sections) {
    const initial = section.startsWith('Source') ? 'S' : 'D';
    const steps = [...section.matchAll(/^\| `[a-z0-9_]+` \| (\S+) /gm)].map(([, step]) => step);
    expect(steps.every((step) => step.startsWith(initial))).toBe(true);
  }
});
