/** The plots over time, and the histogram: uPlot with this page's colours and units. */
import uPlot from 'uplot';
import { html, setText, themed } from './dom.js';

const HEIGHT = 190;

export interface Series {
  readonly name: string;
  /** A custom property of the style. */
  readonly colour: string;
  readonly isBar?: boolean;
  readonly isStep?: boolean;
  readonly scale?: string;
}

export interface ChartOptions {
  readonly label: string;
  readonly series: readonly Series[];
  /** The value on the axis, and in the legend. */
  readonly format: (value: number) => string;
  /** The same of another axis, at the right. */
  readonly right?: { readonly scale: string; readonly format: (value: number) => string };
  /** On the axis below; absent: seconds since the begin. */
  readonly formatX?: (value: number) => string;
  readonly isLogarithmic?: boolean;
  /** Bytes: round are powers of two. */
  readonly isBinary?: boolean;
}

type Values = readonly (number | null)[];

const powersOfTwo = Array.from({ length: 50 }, (_, i) => 2 ** i);

function powersOfTen(_: uPlot, __: number, min: number, max: number): number[] {
  const first = Math.ceil(Math.log10(min));
  const last = Math.floor(Math.log10(max));
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => 10 ** (first + i));
}

export class Chart {
  readonly #plot = html('div', { class: 'plot', role: 'img' });
  readonly #summary = html('p', { class: 'quiet summary' });
  readonly element = html('div', { class: 'chart' }, this.#plot, this.#summary);
  readonly #options: ChartOptions;
  #chart: uPlot | undefined;
  #data: [number[], ...(number | null)[][]] = [[]];

  constructor(options: ChartOptions) {
    this.#options = options;
    new ResizeObserver(() => {
      if (this.#plot.clientWidth > 0) this.#chart?.setSize({ width: this.#plot.clientWidth, height: HEIGHT });
      if (this.#chart === undefined) this.#draw();
    }).observe(this.#plot);
  }

  /** `summary`: the same in words. */
  show(x: readonly number[], series: readonly Values[], summary: string): void {
    this.#data = [[...x], ...series.map((values) => [...values])];
    setText(this.#summary, summary);
    this.#plot.setAttribute('aria-label', `${this.#options.label}: ${summary}`);
    if (this.#chart === undefined) this.#draw();
    else this.#chart.setData(this.#data);
  }

  /** In other colours. */
  redraw(): void {
    this.#chart?.destroy();
    this.#chart = undefined;
    this.#draw();
  }

  #draw(): void {
    const width = this.#plot.clientWidth;
    if (width === 0 || this.#data[0].length === 0) return;
    this.#chart = new uPlot(this.#plotOptions(width), this.#data, this.#plot);
  }

  #plotOptions(width: number): uPlot.Options {
    const { series, format, right, formatX, isLogarithmic = false, isBinary = false } = this.#options;
    const formatTime = formatX ?? ((value: number) => `${Number(value.toFixed(2))} s`);
    const text = (of: (value: number) => string) => (_: uPlot, value: number | null) =>
      value === null ? '–' : of(value);
    const axis = (of: (value: number) => string): uPlot.Axis => ({
      stroke: themed('--quiet'),
      grid: { stroke: themed('--line'), width: 1 },
      ticks: { stroke: themed('--line'), width: 1 },
      font: '11px system-ui, sans-serif',
      values: (_, values) => values.map((value) => (value === null ? '' : of(value))),
    });
    return {
      width,
      height: HEIGHT,
      cursor: { drag: { x: false, y: false } },
      scales: {
        x: { time: false },
        y: isLogarithmic ? { distr: 3 } : { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] },
        ...(right === undefined ? {} : { [right.scale]: { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] } }),
      },
      axes: [
        axis(formatTime),
        {
          ...axis(format),
          size: 78,
          ...(isLogarithmic ? { splits: powersOfTen } : {}),
          ...(isBinary ? { incrs: powersOfTwo } : {}),
        },
        ...(right === undefined
          ? []
          : [{ ...axis(right.format), scale: right.scale, side: 1 as const, size: 70, grid: { show: false } }]),
      ],
      series: [
        { label: formatX === undefined ? 'time' : 'up to', value: text(formatTime) },
        ...series.map((each): uPlot.Series => {
          const { bars, stepped } = uPlot.paths;
          const colour = themed(each.colour);
          const scale = each.scale ?? 'y';
          return {
            label: each.name,
            scale,
            stroke: colour,
            width: 1.5,
            spanGaps: true,
            points: { show: false },
            value: text(scale === right?.scale ? right.format : format),
            ...(each.isBar && bars !== undefined ? { fill: `${colour}99`, paths: bars({ size: [0.9, 40] }) } : {}),
            ...(each.isStep && stepped !== undefined ? { paths: stepped({ align: 1 }) } : {}),
          };
        }),
      ],
    };
  }
}
