/** The page itself: shows the model inside it (a report), or what the process that serves it tells (the dashboard). */
import 'uplot/dist/uPlot.min.css';
import './page.css';
import type { Model, Run } from '../model.js';
import { withUpdate } from '../view/shown.js';
import { html, setText } from './dom.js';
import { BlocktimeView, FiguresView } from './figures-view.js';
import { MapView } from './map-view.js';
import { PlotsView } from './plots-view.js';
import { TimelineView } from './timeline-view.js';

class Page {
  readonly #title = html('h1');
  readonly #state = html('p', { class: 'state', role: 'status' });
  readonly #connection = html('p', { class: 'connection', role: 'status' });
  readonly #choice = html('select', { 'aria-label': 'which migration' });
  readonly #figures = { source: new FiguresView('source'), destination: new FiguresView('destination') };
  readonly #maps = { source: new MapView('source'), destination: new MapView('destination') };
  readonly #timeline = new TimelineView();
  readonly #plots = new PlotsView();
  readonly #blocktime = new BlocktimeView();
  readonly #sections: Readonly<Record<'source' | 'destination', HTMLElement>>;
  readonly #kind: string;
  #model: Model = { title: '', runs: [] };
  /** The one that was chosen; the last one, where none was. */
  #chosen: number | undefined;

  constructor(place: Element, kind: 'report' | 'dashboard') {
    this.#kind = kind;
    this.#choice.hidden = true;
    this.#choice.addEventListener('change', () => {
      this.#chosen = Number(this.#choice.value);
      this.#draw();
    });
    const side = (name: 'source' | 'destination') =>
      html(
        'section',
        { 'aria-label': name },
        html('h2', {}, name),
        this.#figures[name].element,
        this.#maps[name].element,
      );
    this.#sections = { source: side('source'), destination: side('destination') };
    const part = (title: string, element: Element) =>
      html('section', { 'aria-label': title }, html('h2', {}, title), element);
    place.replaceChildren(
      html('header', {}, this.#title, this.#choice, this.#state, this.#connection),
      part('States', this.#timeline.element),
      html('div', { class: 'sides' }, this.#sections.source, this.#sections.destination),
      html(
        'div',
        { class: 'sides' },
        part('Throughput', this.#plots.throughput.element),
        part('Fault latency over time', this.#plots.latency.element),
        part('Fault latencies by stage', this.#plots.histogram.element),
        part('Waiting for pages, by vCPU', this.#blocktime.element),
      ),
    );
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      for (const map of Object.values(this.#maps)) map.draw();
      this.#plots.redraw();
    });
  }

  get model(): Model {
    return this.#model;
  }

  show(model: Model): void {
    this.#model = model;
    this.#draw();
  }

  /** How the page has what it shows. */
  connection(text: string, isLost: boolean): void {
    setText(this.#connection, text);
    this.#connection.classList.toggle('lost', isLost);
  }

  #draw(): void {
    const { title, runs } = this.#model;
    setText(this.#title, this.#kind === 'report' ? `${title}: report` : title);
    this.#offer(runs);
    const run = runs.find(({ id }) => id === this.#chosen) ?? runs.at(-1);
    document.body.classList.toggle('empty', run === undefined);
    if (run === undefined) {
      setText(this.#state, 'No migration has begun.');
      return;
    }
    setText(this.#state, stateOf(run));
    this.#state.classList.toggle('failed', run.outcome?.isSuccess === false);
    for (const side of ['source', 'destination'] as const) {
      const record = run[side];
      this.#sections[side].classList.toggle('absent', record === null);
      this.#figures[side].show(run);
      this.#maps[side].show(record?.snapshot.map ?? null, whyNoMap(run, side));
    }
    this.#timeline.show(run);
    this.#plots.show(run);
    this.#blocktime.show(run);
  }

  #offer(runs: readonly Run[]): void {
    this.#choice.hidden = runs.length < 2;
    if (this.#choice.options.length === runs.length && this.#choice.options[0]?.value === String(runs[0]?.id)) return;
    const options = runs.map(({ id, startedMs }) =>
      html('option', { value: id }, `migration ${id}, ${new Date(startedMs).toLocaleTimeString()}`),
    );
    this.#choice.replaceChildren(...options);
    this.#choice.value = String(this.#chosen ?? runs.at(-1)?.id);
  }
}

function stateOf({ outcome, source, destination }: Run): string {
  if (outcome !== null) return outcome.text;
  const [from, to] = [source?.snapshot.info.status, destination?.snapshot.info.status];
  return [from === undefined ? [] : [`source: ${from}`], to === undefined ? [] : [`destination: ${to}`]]
    .flat()
    .join(', ');
}

function whyNoMap(run: Run, side: 'source' | 'destination'): string {
  if (run[side] !== null) return 'Its RAM is not known yet.';
  const other = side === 'source' ? run.destination : run.source;
  if (other === null) return 'It has told nothing yet.';
  return `The ${side} is another process, which does not tell its pages to this one.`;
}

/** A page that was left alone gets all anew when it comes back: EventSource connects again by itself. */
function follow(page: Page): void {
  const events = new EventSource('events');
  const told = <T>({ data }: MessageEvent<string>) => JSON.parse(data) as T;
  events.addEventListener('model', (event) => {
    page.connection('live', false);
    page.show(told<Model>(event));
  });
  events.addEventListener('update', (event) => {
    page.show(told<Run[]>(event).reduce(withUpdate, page.model));
  });
  events.addEventListener('end', (event) => {
    events.close();
    page.show(told<Model>(event));
    page.connection('The process has ended; this is the last it told.', false);
  });
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED)
      page.connection('The process does not answer: load the page again.', true);
    else page.connection('The connection is lost, and tried again.', true);
  });
}

const place = document.getElementById('page');
const inside = document.getElementById('model')?.textContent;
if (place !== null) {
  const page = new Page(place, inside ? 'report' : 'dashboard');
  if (inside) page.show(JSON.parse(inside) as Model);
  else follow(page);
}
