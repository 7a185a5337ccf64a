/** The figures of a run: those that say most, by side; and for how long each vCPU waited. */
import type { Run } from '../model.js';
import { bytes, count, ms, percent, us } from '../view/format.js';
import { html, setText } from './dom.js';

type Figure = readonly [name: string, value: string];

function sourceFigures({ source }: Run): readonly Figure[] {
  if (source === null) return [];
  const { info, guest } = source.snapshot;
  const { ram } = info;
  return [
    ['status', info.status],
    ['total time', ms(info.totalTime)],
    ['downtime', info.downtime === 0 ? '–' : ms(info.downtime)],
    ['sent', bytes(ram.transferred)],
    ['still to be sent', bytes(ram.remaining)],
    ['pages', count(ram.normal)],
    ['zero pages', count(ram.duplicate)],
    ['dirty syncs', count(ram.dirtySyncCount)],
    ['dirtied', ram.dirtyPagesRate === 0 ? '–' : `${count(ram.dirtyPagesRate)} pages/s`],
    ['requests', count(ram.postcopyRequests)],
    ...(info.cpuThrottlePercentage === undefined ? [] : [['held back', `${info.cpuThrottlePercentage} %`] as const]),
    ...(guest === null ? [] : [['guest wrote', `${count(guest.writesHere)} pages`] as const]),
  ];
}

function destinationFigures({ destination }: Run): readonly Figure[] {
  if (destination === null) return [];
  const { info, guest } = destination.snapshot;
  const { ram, faults } = info;
  const waiting = Math.max(0, ram.postcopyRequests - ram.postcopyRequestsServed);
  return [
    ['status', info.status],
    ['received', bytes(ram.transferred)],
    ['pages', count(ram.normal)],
    ['zero pages', count(ram.duplicate)],
    ['faults', count(faults.count)],
    ['waiting', count(waiting)],
    ['latency p50', faults.count === 0 ? '–' : us(faults.p50Us)],
    ['latency p99', faults.count === 0 ? '–' : us(faults.p99Us)],
    ['latency max', faults.count === 0 ? '–' : us(faults.maxUs)],
    ...(ram.prefetched === 0 ? [] : [['asked ahead', `${count(ram.prefetched)} pages`] as const]),
    ...(guest === null ? [] : [['guest wrote', `${count(guest.writesHere)} pages`] as const]),
  ];
}

const figuresOf = { source: sourceFigures, destination: destinationFigures } as const;

export class FiguresView {
  readonly element = html('dl', { class: 'figures' });
  readonly #of: (run: Run) => readonly Figure[];
  readonly #values = new Map<string, HTMLElement>();

  constructor(side: keyof typeof figuresOf) {
    this.#of = figuresOf[side];
  }

  show(run: Run): void {
    const figures = this.#of(run);
    if (figures.length !== this.#values.size) {
      this.#values.clear();
      for (const [name] of figures) this.#values.set(name, html('dd'));
      this.element.replaceChildren(
        ...[...this.#values].map(([name, value]) => html('div', {}, html('dt', {}, name), value)),
      );
    }
    for (const [name, value] of figures) {
      const element = this.#values.get(name);
      if (element !== undefined) setText(element, value);
    }
  }
}

/** For how long each vCPU waited for pages, and all of them at once. */
export class BlocktimeView {
  readonly element = html('div', { class: 'blocktime' });

  show({ destination, startedMs }: Run): void {
    const info = destination?.snapshot.info;
    const vcpus = info?.postcopyVcpuBlocktime;
    if (destination === null || info === undefined || vcpus === undefined) {
      this.element.replaceChildren(html('p', { class: 'quiet' }, 'It is not measured here.'));
      return;
    }
    const began = destination.events.find(({ value }) => value === 'postcopy-active')?.atMs ?? startedMs;
    const spanMs = Math.max(1, destination.snapshot.atMs - began);
    const rows: readonly (readonly [string, number])[] = [
      ...vcpus.map((blockedMs, i) => [`vCPU ${i}`, blockedMs] as const),
      ['all at once', info.postcopyBlocktime ?? 0],
    ];
    this.element.replaceChildren(...rows.map(([name, blockedMs]) => row(name, blockedMs, spanMs)));
  }
}

function row(name: string, blockedMs: number, spanMs: number): HTMLElement {
  const bar = html('span', { class: 'bar' });
  bar.style.width = `${Math.min(100, (blockedMs / spanMs) * 100)}%`;
  const text = `${ms(blockedMs)}, ${percent(Math.min(blockedMs, spanMs), spanMs)} of the postcopy`;
  return html('div', {}, html('span', {}, name), html('span', { class: 'track' }, bar), html('span', {}, text));
}
