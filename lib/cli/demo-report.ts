/** What the demo found, as the JSON that programs read and the table that people read. Pure. */
import Table from 'cli-table3';
import type { FaultInfo } from '../destination/incoming-info.js';
import type { MemoryKind } from '../memory/ram-block.js';
import type { Forecast } from '../source/forecast.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import { type RecoveriesReport, recoveriesReport } from './auto-recovery.js';
import type { DemoGuestName } from './demo-guest.js';
import type { DemoSettings, SideDone } from './demo-messages.js';
import { latencyText, recoveriesText } from './migration-lines.js';
import { formatBytes, formatCount, formatMs } from './size.js';

export type SourceDone = Extract<SideDone, { side: 'source' }>;
export type DestinationDone = Extract<SideDone, { side: 'destination' }>;

/** The contract of `postcopy demo --json`. Times in milliseconds or, where named so, microseconds. */
export interface DemoReport extends RecoveriesReport {
  readonly status: string;
  /** Every page of the guest holds what it should. */
  readonly verified: boolean;
  readonly lostWrites: number;
  readonly guest: DemoGuestName;
  readonly transport: 'unix' | 'tcp';
  readonly memoryBytes: number;
  readonly memoryKind: MemoryKind;
  readonly blocks: number;
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
  /** From the fault to the page's placing, and the stages of that. */
  readonly faults: FaultInfo;
  /** Milliseconds that all vCPUs waited for pages at once, and that each of them waited. */
  readonly postcopyBlocktime: number | undefined;
  readonly postcopyVcpuBlocktime: readonly number[] | undefined;
  /** The most that auto-converge held the guest back. */
  readonly cpuThrottlePercentage: number;
  /** How what the guest wrote in precopy was found; `none`: the switch came at once. */
  readonly dirtyTracking: OutgoingInfo['dirtyTracking'];
  /** The last forecast of the precopy; null where it was over before there was one. */
  readonly forecast: Forecast | null;
  /** Page writes of the guest at the source and, after the switch, at the destination. */
  readonly writes: { readonly source: number; readonly destination: number };
}

/** What of the settings stands in the report. */
type Settings = Pick<DemoSettings, 'guest' | 'transport' | 'kind'>;

export function demoReport(settings: Settings, source: SourceDone, destination: DestinationDone): DemoReport {
  const { verdict, guest, info, blocks } = destination;
  const lostWrites = verdict.lostWrites + guest.lostWrites;
  const { transferred, normal, duplicate, precopyBytes, postcopyBytes, postcopyRequests, dirtySyncCount, pageSize } =
    source.info.ram;
  const badPages = verdict.lostPages + verdict.tornPages + verdict.stalePages + guest.badPages;
  return {
    status: info.status,
    verified: badPages === 0 && lostWrites === 0 && verdict.pagesChecked * pageSize === source.memory,
    lostWrites,
    guest: settings.guest,
    transport: settings.transport,
    memoryBytes: source.memory,
    memoryKind: settings.kind,
    blocks,
    setupTimeMs: source.info.setupTime,
    downtimeMs: (guest.startedUs - source.guest.stoppedUs) / 1000,
    totalTimeMs: source.info.totalTime,
    ram: { transferred, normal, duplicate, precopyBytes, postcopyBytes, postcopyRequests, dirtySyncCount, pageSize },
    faults: info.faults,
    postcopyBlocktime: info.postcopyBlocktime,
    postcopyVcpuBlocktime: info.postcopyVcpuBlocktime,
    cpuThrottlePercentage: source.throttledPercent,
    dirtyTracking: source.info.dirtyTracking,
    forecast: source.forecast,
    writes: { source: source.guest.writesHere, destination: guest.writesHere },
    ...recoveriesReport(source.recoveries),
  };
}

const stageNames: Readonly<Record<keyof FaultInfo['stages'], string>> = {
  requestSent: 'to the request’s sending',
  pageArrived: 'to the page’s arrival',
  pagePlaced: 'to its placing',
};

type Row = readonly [name: string, text: string];

function guestRow({ guest, memoryBytes, memoryKind, blocks, transport }: DemoReport): Row {
  const memory = `${formatBytes(memoryBytes)} of ${memoryKind} memory`;
  return ['guest', `${guest}, ${memory}${blocks === 1 ? '' : ` in ${blocks} blocks`}, over ${transport}`];
}

/** Rows of what is not there in every migration. */
function precopyRows({ cpuThrottlePercentage, dirtyTracking }: DemoReport): Row[] {
  const rows: Row[] = [];
  if (dirtyTracking === 'none') rows.push(['precopy', 'none: switched to postcopy at once']);
  if (cpuThrottlePercentage > 0)
    rows.push(['throttle', `guest held back up to ${cpuThrottlePercentage} % of the time`]);
  return rows;
}

function waitingRows({ faults, postcopyBlocktime, postcopyVcpuBlocktime }: DemoReport): Row[] {
  const names = Object.keys(stageNames) as (keyof FaultInfo['stages'])[];
  const rows: Row[] = [
    ['fault latency', latencyText(faults)],
    ['of it', names.map((name) => `${stageNames[name]}: ${latencyText(faults.stages[name])}`).join('\n')],
  ];
  if (postcopyBlocktime !== undefined) {
    const each = (postcopyVcpuBlocktime ?? []).map(formatMs).join(', ');
    rows.push(['vCPUs waited', `${each === '' ? '' : `${each}; `}all at once ${formatMs(postcopyBlocktime)}`]);
  }
  return rows;
}

/** The report in a few lines. */
export function demoTable(report: DemoReport): string {
  const { ram, faults, writes } = report;
  const table = new Table({ style: { head: [], border: [] }, colAligns: ['left', 'left'] });
  const wire = `${formatBytes(ram.precopyBytes)} before the switch, ${formatBytes(ram.postcopyBytes)} after`;
  const pages = `${formatCount(ram.normal)} with content, ${formatCount(ram.duplicate)} zero`;
  const verdict = report.verified
    ? 'every page holds its last write: nothing lost'
    : `NO: ${formatCount(report.lostWrites)} writes lost`;
  const rows: Row[] = [
    guestRow(report),
    ['total time', `${formatMs(report.totalTimeMs)}, of it ${formatMs(report.setupTimeMs)} setup`],
    ['downtime', formatMs(report.downtimeMs)],
    ['on the wire', `${formatBytes(ram.transferred)}: ${wire}`],
    ['pages', `${pages}; ${ram.dirtySyncCount} dirty syncs`],
    ...precopyRows(report),
    ['real page faults', `${formatCount(faults.count)}; ${formatCount(ram.postcopyRequests)} pages asked for`],
    ...waitingRows(report),
    ...(report.recoveries === undefined ? [] : [['recovered', recoveriesText(report.recoveries)] as const]),
    [
      'guest writes',
      `${formatCount(writes.source)} at the source, ${formatCount(writes.destination)} at the destination`,
    ],
    ['verified', verdict],
  ];
  table.push(...rows.map((row) => [...row]));
  return table.toString();
}
