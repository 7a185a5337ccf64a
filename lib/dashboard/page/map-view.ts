/** The page maps of one side: a canvas for each RAM block, which keys walk through, and a table of the same. */
import { arrivingStates, type BlockMap, type PageState, sentStates } from '../page-map.js';
import { cellAfter, cellCount, cellText, partsOf, restNames, stateNames } from '../view/cells.js';
import { bytes, count, percent } from '../view/format.js';
import { html, setText, themed } from './dom.js';

/** Pixels of a cell, and of the gap behind it. */
const CELL = 7;
const GAP = 1;
const STEP = CELL + GAP;

const PAGE_BYTES = 4096;

type Side = keyof typeof restNames;

const statesOf: Readonly<Record<Side, readonly PageState[]>> = { source: sentStates, destination: arrivingStates };

function palette(): Readonly<Record<PageState | 'none', string>> {
  const states = [...arrivingStates, ...sentStates, 'none'] as const;
  return Object.fromEntries(states.map((state) => [state, themed(`--page-${state}`)])) as Record<PageState, string> & {
    none: string;
  };
}

/** One block. */
class BlockView {
  readonly element: HTMLElement;
  readonly #canvas: HTMLCanvasElement;
  readonly #title: HTMLElement;
  readonly #output: HTMLElement;
  #map: BlockMap;
  #columns = 1;
  #cell: number | undefined;

  constructor(map: BlockMap, side: Side) {
    this.#map = map;
    this.#canvas = html('canvas', {
      tabindex: 0,
      role: 'application',
      'aria-roledescription': 'page map',
      'aria-label': `Page map of ${map.idstr} at the ${side}. Arrow keys go from cell to cell.`,
    });
    this.#title = html('span', { class: 'quiet' });
    this.#output = html('output', { 'aria-live': 'polite', class: 'cell' });
    const caption = html('figcaption', {}, html('b', {}, map.idstr), ' ', this.#title);
    this.element = html('figure', { class: 'block' }, caption, this.#canvas, this.#output);
    this.#canvas.addEventListener('keydown', (event) => this.#onKey(event));
    this.#canvas.addEventListener('focus', () => this.#point(this.#cell ?? 0));
    this.#canvas.addEventListener('blur', () => this.#point(undefined));
    this.#canvas.addEventListener('pointermove', ({ offsetX, offsetY }) => {
      const column = Math.min(Math.floor(offsetX / STEP), this.#columns - 1);
      const cell = Math.floor(offsetY / STEP) * this.#columns + column;
      if (cell >= 0 && cell < cellCount(this.#map)) this.#point(cell);
    });
    this.#canvas.addEventListener('pointerleave', () => {
      if (document.activeElement !== this.#canvas) this.#point(undefined);
    });
  }

  show(map: BlockMap): void {
    this.#map = map;
    setText(this.#title, `${bytes(map.pages * PAGE_BYTES)}, a cell is ${bytes(map.pagesPerCell * PAGE_BYTES)}`);
    this.draw();
    if (this.#cell !== undefined) setText(this.#output, cellText(map, this.#cell));
  }

  draw(): void {
    const canvas = this.#canvas;
    const width = this.element.clientWidth;
    if (width === 0) return; // not on the page yet
    const cells = cellCount(this.#map);
    this.#columns = Math.max(1, Math.min(cells, Math.floor((width + GAP) / STEP)));
    const [w, h] = [this.#columns * STEP - GAP, Math.ceil(cells / this.#columns) * STEP - GAP];
    const ratio = window.devicePixelRatio;
    canvas.width = w * ratio;
    canvas.height = h * ratio;
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    const context = canvas.getContext('2d');
    if (context === null) return;
    context.scale(ratio, ratio);
    const colours = palette();
    for (let cell = 0; cell < cells; cell += 1) {
      let top = Math.floor(cell / this.#columns) * STEP;
      for (const [state, height] of partsOf(this.#map, cell, CELL)) {
        context.fillStyle = colours[state];
        context.fillRect((cell % this.#columns) * STEP, top, CELL, height);
        top += height;
      }
    }
    if (this.#cell === undefined) return;
    context.strokeStyle = themed('--text');
    context.lineWidth = 2;
    const [x, y] = [(this.#cell % this.#columns) * STEP, Math.floor(this.#cell / this.#columns) * STEP];
    context.strokeRect(x, y, CELL, CELL);
  }

  #onKey(event: KeyboardEvent): void {
    const cell = cellAfter(event.key, this.#cell ?? 0, this.#columns, cellCount(this.#map));
    if (cell === undefined) return;
    event.preventDefault();
    this.#point(cell);
  }

  #point(cell: number | undefined): void {
    if (cell === this.#cell) return;
    this.#cell = cell;
    setText(this.#output, cell === undefined ? '' : cellText(this.#map, cell));
    this.draw();
  }
}

export class MapView {
  readonly element = html('div', { class: 'maps' });
  readonly #side: Side;
  #blocks: BlockView[] = [];
  /** Of the blocks that are shown. */
  #names = '';
  readonly #table = html('tbody');
  readonly #figures = html('div');
  readonly #nothing = html('p', { class: 'quiet' });

  constructor(side: Side) {
    this.#side = side;
    const states = statesOf[side];
    const legend = [...states, 'none' as const].map((state) => {
      const name = state === 'none' ? restNames[side] : stateNames[state];
      return html('li', {}, html('i', { class: `swatch page-${state}` }), name);
    });
    const heads = ['block', 'size', ...states.map((state) => stateNames[state]), restNames[side]];
    const table = html(
      'table',
      {},
      html('thead', {}, html('tr', {}, ...heads.map((head) => html('th', { scope: 'col' }, head)))),
      this.#table,
    );
    const scroller = html(
      'div',
      { class: 'scroller', tabindex: 0, role: 'region', 'aria-label': `pages of the ${side}` },
      table,
    );
    this.element.append(html('ul', { class: 'legend' }, ...legend), this.#nothing, this.#figures, scroller);
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  /** `why`: what is said where there is no map. */
  show(maps: readonly BlockMap[] | null, why: string): void {
    setText(this.#nothing, maps === null || maps.length === 0 ? why : '');
    this.#nothing.hidden = maps !== null && maps.length > 0;
    const names = JSON.stringify((maps ?? []).map(({ idstr, pages }) => [idstr, pages]));
    if (names !== this.#names) {
      this.#names = names;
      this.#blocks = (maps ?? []).map((map) => new BlockView(map, this.#side));
      this.#figures.replaceChildren(...this.#blocks.map(({ element }) => element));
    }
    for (const [index, map] of (maps ?? []).entries()) this.#blocks[index].show(map);
    this.#table.replaceChildren(...(maps ?? []).map((map) => this.#row(map)));
  }

  draw(): void {
    for (const block of this.#blocks) block.draw();
  }

  #row({ idstr, pages, states }: BlockMap): HTMLElement {
    const counts = statesOf[this.#side].map((state) => states[state]?.pages ?? 0);
    const rest = pages - counts.reduce((sum, each) => sum + each, 0);
    const cells = [...counts, rest].map((each) => html('td', { title: percent(each, pages) }, count(each)));
    return html('tr', {}, html('th', { scope: 'row' }, idstr), html('td', {}, bytes(pages * PAGE_BYTES)), ...cells);
  }
}
