/**
 * A report as one HTML file that needs nothing else: for each comparison plots of medians with their extremes, and the
 * table. The plots are drawn here, as SVG, so that the file runs no script.
 */
import { type EChartsOption, init } from 'echarts';
import type { BenchmarkResult } from './report.ts';
import { columns, hostLine, type Report, rowsOf } from './report.ts';
import type { ComparisonResult, ContenderResult } from './rounds.ts';
import type { Spread } from './statistics.ts';

/** Pixels. */
const WIDTH = 560;
const BAR_HEIGHT = 26;
const FRAME_HEIGHT = 70;
const NAMES_WIDTH = 150;
const HALF_TICK = 4;

const colours = { baseline: '#9aa0a6', limit: '#dfe3e8', other: '#3b7dd8', extremes: '#333333' } as const;

/** One measure of all contenders that have it. */
interface Plot {
  readonly title: string;
  readonly bars: readonly { readonly name: string; readonly spread: Spread; readonly colour: string }[];
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => escapes[character]);

function plotOf(
  { baseline, limit, contenders }: ComparisonResult,
  title: string,
  spreadOf: (contender: ContenderResult) => Spread | undefined,
): Plot {
  const colourOf = (name: string): string =>
    name === limit ? colours.limit : name === baseline ? colours.baseline : colours.other;
  const bars = contenders.flatMap((contender) => {
    const spread = spreadOf(contender);
    return spread === undefined ? [] : [{ name: contender.name, spread, colour: colourOf(contender.name) }];
  });
  return { title, bars };
}

/** What is worth a plot: throughput, and the figures that are compared. */
export function plotsOf(comparison: ComparisonResult): readonly Plot[] {
  const { unit, compared } = comparison;
  const plots = [
    plotOf(comparison, `${unit} a second`, ({ throughput }) => throughput),
    ...compared.map((figure) => plotOf(comparison, figure, ({ figures }) => figures[figure])),
  ];
  return plots.filter(({ bars }) => bars.length > 0);
}

function optionOf({ title, bars }: Plot): EChartsOption {
  return {
    animation: false,
    title: { text: title, left: 0, textStyle: { fontSize: 13 } },
    grid: { left: NAMES_WIDTH, right: 30, top: 30, bottom: 30 },
    xAxis: { type: 'value' },
    yAxis: { type: 'category', inverse: true, data: bars.map(({ name }) => name) },
    series: [
      {
        type: 'bar',
        barWidth: '60%',
        data: bars.map(({ spread, colour }) => ({ value: spread.median, itemStyle: { color: colour } })),
      },
      {
        type: 'custom',
        data: bars.map(({ spread }, index) => [spread.least, spread.most, index]),
        encode: { x: [0, 1], y: 2 },
        renderItem: (_, api) => {
          const [left, y] = api.coord([api.value(0), api.value(2)]);
          const [right] = api.coord([api.value(1), api.value(2)]);
          const line = (x1: number, y1: number, x2: number, y2: number) =>
            ({ type: 'line', shape: { x1, y1, x2, y2 }, style: { stroke: colours.extremes } }) as const;
          const tick = (x: number) => line(x, y - HALF_TICK, x, y + HALF_TICK);
          return { type: 'group', children: [line(left, y, right, y), tick(left), tick(right)] };
        },
      },
    ],
  };
}

function svgOf(plot: Plot): string {
  const height = FRAME_HEIGHT + BAR_HEIGHT * plot.bars.length;
  const chart = init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height });
  try {
    chart.setOption(optionOf(plot));
    return chart.renderToSVGString();
  } finally {
    chart.dispose();
  }
}

function tableOf(benchmark: BenchmarkResult): string {
  const row = (cells: readonly string[], kind: 'td' | 'th'): string =>
    `<tr>${cells.map((cell) => `<${kind}>${escaped(cell)}</${kind}>`).join('')}</tr>`;
  return ['<table>', row(columns, 'th'), ...rowsOf(benchmark).map((cells) => row(cells, 'td')), '</table>'].join('\n');
}

function sectionOf(benchmark: BenchmarkResult): string {
  const comparisons = benchmark.comparisons.map(
    (comparison) =>
      `<h3>${escaped(comparison.name)}</h3>\n<div class="plots">${plotsOf(comparison).map(svgOf).join('\n')}</div>`,
  );
  const table = `<details><summary>All figures</summary>\n${tableOf(benchmark)}\n</details>`;
  return [`<h2>${escaped(benchmark.title)}</h2>`, ...comparisons, table].join('\n');
}

const style = `
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222; }
.plots { display: flex; flex-wrap: wrap; gap: 1em; }
.plots svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 12px; }
td, th { border: 1px solid #ccc; padding: 2px 6px; text-align: left; vertical-align: top; }
`;

export function htmlOf(report: Report): string {
  const key = 'Bars are medians, lines the least and the most. Grey: the baseline. Light grey: the limit of the host.';
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>postcopy: benchmarks</title>
<style>${style}</style>
</head>
<body>
<h1>postcopy: benchmarks</h1>
<p>${escaped(hostLine(report))}</p>
<p>${key}</p>
${report.benchmarks.map(sectionOf).join('\n')}
</body>
</html>
`;
}
