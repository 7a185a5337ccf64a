/** What the demo found, as the JSON that programs read and the table that people read. Pure. */
import Table from 'cli-table3';
import type { DemoSettings, SideDone } from './demo-messages.js';
import { formatBytes, formatCount, formatMs, formatUs } from './size.js';

export type SourceDone = Extract<SideDone, { side: 'source' }>;
export type DestinationDone = Extract<SideDone, { side: 'destination' }>;

/** The contract of `postcopy demo --json`. Times in milliseconds or, where named so, microseconds. */
export interface DemoReport {
  readonly status: string;
  /** Every page of the guest holds what it should. */
  readonly verified: boolean;
  readonly lostWrites: number;
  readonly guest: 'stress';
  readonly transport: 'unix' | 'tcp';
  readonly memoryBytes: number;
  readonly setupTimeMs: number;
  /** From the moment the last vCPU stood still at the source until the first ran at the destination. */
  readonly downtimeMs: number;
  readonly totalTimeMs: number;
  readonly ram: {
    readonly transferred: number;
    readonly normal: number;
    readonly duplicate: number;
    readonly precopyBytes: number;
    readonly postcopyBytes: number;
    readonly postcopyRequests: number;
    readonly dirtySyncCount: number;
    readonly pageSize: number;
  };
  readonly faults: { readonly count: number; readonly p50Us: number; readonly p99Us: number; readonly maxUs: number };
  /** Page writes of the guest at the source and, after the switch, at the destination. */
  readonly writes: { readonly source: number; readonly destination: number };
}

export function demoReport(settings: DemoSettings, source: SourceDone, destination: DestinationDone): DemoReport {
  const { verdict, guest } = destination;
  const { count, p50Us, p99Us, maxUs } = destination.info.faults;
  const lostWrites = verdict.lostWrites + guest.lostWrites;
  const { transferred, normal, duplicate, precopyBytes, postcopyBytes, postcopyRequests, dirtySyncCount, pageSize } =
    source.info.ram;
  const badPages = verdict.lostPages + verdict.tornPages + verdict.stalePages + guest.badPages;
  return {
    status: destination.info.status,
    verified: badPages === 0 && lostWrites === 0 && verdict.pagesChecked * pageSize === settings.memory,
    lostWrites,
    guest: 'stress',
    transport: settings.transport,
    memoryBytes: settings.memory,
    setupTimeMs: source.info.setupTime,
    downtimeMs: (guest.startedUs - source.guest.stoppedUs) / 1000,
    totalTimeMs: source.info.totalTime,
    ram: { transferred, normal, duplicate, precopyBytes, postcopyBytes, postcopyRequests, dirtySyncCount, pageSize },
    faults: { count, p50Us, p99Us, maxUs },
    writes: { source: source.guest.writesHere, destination: guest.writesHere },
  };
}

/** The report in a few lines. */
export function demoTable(report: DemoReport): string {
  const { ram, faults, writes } = report;
  const table = new Table({ style: { head: [], border: [] }, colAligns: ['left', 'left'] });
  table.push(
    ['guest', `${report.guest}, ${formatBytes(report.memoryBytes)} over ${report.transport}`],
    ['total time', `${formatMs(report.totalTimeMs)}, of it ${formatMs(report.setupTimeMs)} setup`],
    ['downtime', formatMs(report.downtimeMs)],
    [
      'on the wire',
      `${formatBytes(ram.transferred)}: ${formatBytes(ram.precopyBytes)} before the switch, ` +
        `${formatBytes(ram.postcopyBytes)} after`,
    ],
    [
      'pages',
      `${formatCount(ram.normal)} with content, ${formatCount(ram.duplicate)} zero; ${ram.dirtySyncCount} dirty syncs`,
    ],
    ['real page faults', `${formatCount(faults.count)}; ${formatCount(ram.postcopyRequests)} pages asked for`],
    ['fault latency', `p50 ${formatUs(faults.p50Us)}, p99 ${formatUs(faults.p99Us)}, max ${formatUs(faults.maxUs)}`],
    [
      'guest writes',
      `${formatCount(writes.source)} at the source, ${formatCount(writes.destination)} at the destination`,
    ],
    [
      'verified',
      report.verified
        ? 'every page holds its last write: nothing lost'
        : `NO: ${formatCount(report.lostWrites)} writes lost`,
    ],
  );
  return table.toString();
}
