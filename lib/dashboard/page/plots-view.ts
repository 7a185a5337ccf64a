/** The plots of a run: throughput and the guest's writes, fault latency over time by stage, and its histogram. */
import type { Run } from '../model.js';
import { latencyBoundsUs } from '../snapshot.js';
import { bytes, count, us } from '../view/format.js';
import { overTime, rates } from '../view/shown.js';
import { Chart } from './charts.js';

const perSecond = (value: number) => `${bytes(value)}/s`;
const last = (values: readonly (number | null)[]) => values.findLast((value) => value !== null) ?? 0;

export class PlotsView {
  readonly throughput = new Chart({
    label: 'Throughput',
    series: [
      { name: 'sent', colour: '--blue' },
      { name: 'received', colour: '--teal' },
      { name: 'guest writes there', colour: '--orange', scale: 'pages' },
      { name: 'and here', colour: '--red', scale: 'pages' },
    ],
    format: perSecond,
    isBinary: true,
    right: { scale: 'pages', format: (value) => `${count(value)}/s` },
  });
  readonly latency = new Chart({
    label: 'Fault latency over time',
    series: [
      { name: 'total, p99', colour: '--red' },
      { name: 'total, p50', colour: '--text' },
      { name: 'request sent', colour: '--blue' },
      { name: 'page arrived', colour: '--orange' },
      { name: 'page placed', colour: '--teal' },
    ],
    format: us,
    isLogarithmic: true,
  });
  readonly histogram = new Chart({
    label: 'Fault latencies',
    series: [
      { name: 'total', colour: '--quiet', isBar: true },
      { name: 'request sent', colour: '--blue', isStep: true },
      { name: 'page arrived', colour: '--orange', isStep: true },
      { name: 'page placed', colour: '--teal', isStep: true },
    ],
    format: count,
    formatX: (index) => (Number.isInteger(index) ? us(latencyBoundsUs[index] ?? 0) : ''),
  });

  show(run: Run): void {
    this.#throughput(run);
    this.#latency(run);
    this.#histogram(run);
  }

  redraw(): void {
    for (const chart of [this.throughput, this.latency, this.histogram]) chart.redraw();
  }

  #throughput(run: Run): void {
    const sent = run.source?.samples ?? [];
    const received = run.destination?.samples ?? [];
    const [sentMs, receivedMs] = [sent.map(({ atMs }) => atMs), received.map(({ atMs }) => atMs)];
    const series = [
      { atMs: sentMs, values: rates(sent, ({ transferred }) => transferred) },
      { atMs: receivedMs, values: rates(received, ({ transferred }) => transferred) },
      { atMs: sentMs, values: rates(sent, ({ writes }) => writes) },
      { atMs: receivedMs, values: rates(received, ({ writes }) => writes) },
    ];
    const { atMs, values } = overTime(...series);
    this.throughput.show(
      secondsOf(atMs, run.startedMs),
      values,
      throughputText(
        run,
        series.map(({ values }) => last(values)),
      ),
    );
  }

  #latency({ destination, startedMs }: Run): void {
    const samples = destination?.samples ?? [];
    const positive = (value: number | undefined) => (value === undefined || value <= 0 ? null : value);
    const served = samples.findLast(({ latency }) => latency !== null)?.latency;
    const summary =
      served === undefined || served === null
        ? 'no fault has been served yet'
        : `last p50 ${us(served.total.p50Us)}, p99 ${us(served.total.p99Us)}`;
    this.latency.show(
      secondsOf(
        samples.map(({ atMs }) => atMs),
        startedMs,
      ),
      [
        samples.map(({ latency }) => positive(latency?.total.p99Us)),
        samples.map(({ latency }) => positive(latency?.total.p50Us)),
        samples.map(({ latency }) => positive(latency?.requestSent.p50Us)),
        samples.map(({ latency }) => positive(latency?.pageArrived.p50Us)),
        samples.map(({ latency }) => positive(latency?.pagePlaced.p50Us)),
      ],
      summary,
    );
  }

  #histogram({ destination }: Run): void {
    const snapshot = destination?.snapshot;
    if (snapshot === undefined) return this.histogram.show([], [[], [], [], []], 'no fault has been served yet');
    const { latency, info } = snapshot;
    const { p50Us, p99Us, maxUs } = info.faults;
    const served = latency.total.reduce((sum, each) => sum + each, 0);
    const used = latency.total.findLastIndex((each) => each > 0) + 2;
    const indexes = Array.from({ length: Math.min(Math.max(used, 12), latencyBoundsUs.length) }, (_, i) => i);
    const of = (counts: readonly number[]) => indexes.map((i) => counts[i]);
    const summary =
      served === 0
        ? 'no fault has been served yet'
        : `${count(served)} faults, p50 ${us(p50Us)}, p99 ${us(p99Us)}, max ${us(maxUs)}`;
    const { total, requestSent, pageArrived, pagePlaced } = latency;
    this.histogram.show(indexes, [total, requestSent, pageArrived, pagePlaced].map(of), summary);
  }
}

/** In the end the average; before that the last of each series. */
function throughputText({ outcome, source, destination }: Run, lasts: readonly number[]): string {
  const whole = source?.snapshot.info;
  if (outcome !== null && whole !== undefined && whole.totalTime > 0) {
    return `${perSecond((whole.ram.transferred / whole.totalTime) * 1000)} on average`;
  }
  if (outcome !== null && destination !== null) return `${bytes(destination.snapshot.info.ram.transferred)} received`;
  const [sent, received, there, here] = lasts;
  return [
    ...(source === null ? [] : [`${perSecond(sent)} sent`]),
    ...(destination === null ? [] : [`${perSecond(received)} received`]),
    ...(source?.snapshot.guest || destination?.snapshot.guest
      ? [`the guest writes ${count(there + here)} pages/s`]
      : []),
  ].join(', ');
}

function secondsOf(atMs: readonly number[], startedMs: number): number[] {
  return atMs.map((time) => (time - startedMs) / 1000);
}
