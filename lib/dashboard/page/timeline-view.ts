/** The states of both sides over time, with pings, pongs and passes; and the same as a table. */
import type { Run } from '../model.js';
import type { SideEvent } from '../snapshot.js';
import { ms } from '../view/format.js';
import { eventText, type Span, spansOf } from '../view/timeline.js';
import { html, svg } from './dom.js';

const ROW = 24;
const MARKS = 14;
const LEFT = 84;
const RIGHT = 8;
const AXIS = 18;

interface Lane {
  readonly side: 'source' | 'destination';
  readonly spans: readonly Span[];
  readonly events: readonly SideEvent[];
}

export class TimelineView {
  readonly #figure = html('div', { class: 'timeline' });
  readonly #rows = html('tbody');
  readonly element: HTMLElement;
  #run: Run | undefined;

  constructor() {
    const heads = ['time', 'side', 'event'].map((head) => html('th', { scope: 'col' }, head));
    const table = html('table', {}, html('thead', {}, html('tr', {}, ...heads)), this.#rows);
    const scroller = html(
      'div',
      { class: 'scroller tall', tabindex: 0, role: 'region', 'aria-label': 'events' },
      table,
    );
    const events = html('details', {}, html('summary', {}, 'All events'), scroller);
    this.element = html('div', {}, this.#figure, events);
    new ResizeObserver(() => this.#draw()).observe(this.#figure);
  }

  show(run: Run): void {
    this.#run = run;
    this.#draw();
    const events = (['source', 'destination'] as const).flatMap((side) =>
      (run[side]?.events ?? []).map((event) => ({ side, event })),
    );
    events.sort((one, other) => one.event.atMs - other.event.atMs);
    if (events.length === this.#rows.childElementCount) return;
    this.#rows.replaceChildren(
      ...events.map(({ side, event }) =>
        html(
          'tr',
          {},
          html('td', {}, ms(Math.max(0, event.atMs - run.startedMs))),
          html('td', {}, side),
          html('td', {}, eventText(event)),
        ),
      ),
    );
  }

  #draw(): void {
    const run = this.#run;
    const width = this.#figure.clientWidth;
    if (run === undefined || width === 0) return;
    const lanes = lanesOf(run);
    const endMs = Math.max(run.startedMs + 1, ...lanes.flatMap(({ spans }) => spans.map(({ untilMs }) => untilMs)));
    const scale = (width - LEFT - RIGHT) / (endMs - run.startedMs);
    const x = (atMs: number) => LEFT + Math.max(0, atMs - run.startedMs) * scale;
    const height = lanes.length * (ROW + MARKS) + AXIS;
    const label = lanes.map(({ side, spans }) => `${side}: ${spans.map((span) => span.status).join(', ')}`).join('; ');
    const image = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': label });
    drawAxis(image, run.startedMs, endMs, height, x);
    for (const [row, lane] of lanes.entries()) drawLane(image, lane, row * (ROW + MARKS), x);
    this.#figure.replaceChildren(image);
  }
}

function lanesOf(run: Run): readonly Lane[] {
  return (['source', 'destination'] as const).flatMap((side) => {
    const record = run[side];
    if (record === null) return [];
    return [{ side, spans: spansOf(record.events, record.snapshot.atMs), events: record.events }];
  });
}

function drawLane(image: SVGElement, { side, spans, events }: Lane, top: number, x: (atMs: number) => number): void {
  image.append(svg('text', { x: 0, y: top + ROW / 2 + 4, class: 'lane' }, side));
  for (const { status, fromMs, untilMs } of spans) {
    const [left, right] = [x(fromMs), x(untilMs)];
    const wide = Math.max(1.5, right - left);
    const title = svg('title', {}, `${status}: ${ms(untilMs - fromMs)}`);
    image.append(svg('rect', { x: left, y: top, width: wide, height: ROW, class: `status ${status}` }, title));
    if (wide > status.length * 7 + 8) {
      image.append(svg('text', { x: left + 5, y: top + ROW / 2 + 4, class: 'on-status' }, status));
    }
  }
  for (const event of events) {
    if (event.kind === 'status') continue;
    const at = x(event.atMs);
    const [high, low] = [top + ROW + 2, top + ROW + MARKS - 2];
    const mark = svg('line', { x1: at, x2: at, y1: high, y2: low, class: `mark ${event.kind}` });
    mark.append(svg('title', {}, eventText(event)));
    image.append(mark);
  }
}

/** Some five times that are round. */
function drawAxis(image: SVGElement, from: number, until: number, height: number, x: (atMs: number) => number): void {
  const rough = (until - from) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? rough;
  for (let at = 0; from + at <= until; at += step) {
    image.append(svg('line', { x1: x(from + at), x2: x(from + at), y1: 0, y2: height - AXIS, class: 'grid' }));
    image.append(svg('text', { x: x(from + at) + 3, y: height - 4, class: 'axis' }, at === 0 ? '0' : ms(at)));
  }
}
