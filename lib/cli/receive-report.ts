/** What `postcopy receive` says: its line while it runs, and the JSON or the lines at its end. Pure. */
import type { IncomingInfo } from '../destination/incoming-info.js';
import { incomingFields } from '../logs/migration-fields.js';
import type { ReceivedMachineInfo } from '../machine/machine-saver.js';
import { type Recoveries, type RecoveriesReport, recoveriesReport } from './auto-recovery.js';
import type { Look } from './live-line.js';
import { incomingText, latencyText, recoveriesText } from './migration-lines.js';
import { amountText, waitText } from './progress-text.js';
import { formatBytes, formatCount, formatMs } from './size.js';

/** How long it took, in milliseconds. */
export interface ReceiveTimes {
  /** From the source's connection to the end of the migration. */
  readonly totalTimeMs: number;
  /** From then until all RAM was read and, where it is kept, on disk. */
  readonly saveTimeMs: number;
}

/** The contract of `postcopy receive --json`: lengths in bytes, times in milliseconds. */
export interface ReceiveReport extends ReceiveTimes, RecoveriesReport {
  readonly status: string;
  readonly postcopy: boolean;
  /** The machine type of the source, and what it was doing when it was stopped. */
  readonly machine: string;
  readonly runState: string | null;
  readonly blocks: ReceivedMachineInfo['blocks'];
  /** RAM in pages that are not all zero. */
  readonly dataBytes: number;
  readonly ram: IncomingInfo['ram'];
  readonly faults: IncomingInfo['faults'];
  readonly deviceStateBytes: number;
  readonly devices: number;
  /** Stream bytes a second, over the total time. */
  readonly bytesPerSecond: number;
  /** Milliseconds that the reader of RAM waited for pages; with --blocktime. */
  readonly postcopyBlocktime: number | null;
  /** The directory; null where it is not kept. */
  readonly saved: string | null;
}

export function receiveReport(
  info: IncomingInfo,
  machine: ReceivedMachineInfo,
  times: ReceiveTimes,
  recoveries: Recoveries,
): ReceiveReport {
  const { status, postcopy, ram, faults, postcopyBlocktime = null } = info;
  const { runState = null, directory = null, blocks, dataBytes, deviceStateBytes, devices } = machine;
  return {
    status,
    postcopy,
    machine: machine.machine,
    runState,
    blocks,
    dataBytes,
    ram,
    faults,
    deviceStateBytes,
    devices,
    ...times,
    bytesPerSecond: times.totalTimeMs > 0 ? Math.round((ram.transferred / times.totalTimeMs) * 1000) : 0,
    postcopyBlocktime,
    saved: directory,
    ...recoveriesReport(recoveries),
  };
}

/** Bytes a second, since the last looks. */
export interface ReceiveRates {
  /** Of the stream. */
  readonly stream: number;
  /** Of the RAM that is read. */
  readonly reading: number;
}

/** `progress`: bytes of RAM that were read. */
export function receiveLook(
  info: IncomingInfo,
  progress: { readonly done: number; readonly total: number },
  rates: ReceiveRates,
): Look {
  const read = `RAM read: ${amountText(progress.done, progress.total, rates.reading)}`;
  return {
    text: `${info.status}: ${incomingText(info)}; ${formatBytes(rates.stream)}/s; ${read}`,
    mark: `${info.status} ${info.ram.transferred} ${progress.done}`,
    fields: {
      ...incomingFields(info),
      bytesPerSecond: rates.stream,
      readBytes: progress.done,
      ofBytes: progress.total,
    },
  };
}

/** Nobody has connected yet. */
export function awaitingLook(uri: string, ms: number): Look {
  return { text: waitText(`waiting for a source at ${uri}`, ms), mark: 'waiting', fields: { uri, waitedMs: ms } };
}

export function receiveText(report: ReceiveReport): string {
  const { ram, faults, blocks } = report;
  const total = blocks.reduce((sum, { length }) => sum + length, 0);
  const way = report.postcopy ? 'postcopy' : 'precopy';
  const lines: readonly (readonly [string, string])[] = [
    ['machine', `${report.machine}, ${report.runState ?? 'in no known state'} when it was stopped; by ${way}`],
    ['RAM', `${formatBytes(total)} in ${blocks.length} blocks, ${formatBytes(report.dataBytes)} of it not zero`],
    ['devices', `${report.devices}, ${formatBytes(report.deviceStateBytes)}`],
    ['on the wire', `${formatBytes(ram.transferred)}, ${formatBytes(report.bytesPerSecond)}/s`],
    ['page faults', `${formatCount(faults.count)}; ${latencyText(faults)}`],
    ...(report.postcopyBlocktime === null
      ? []
      : [['waited', `${formatMs(report.postcopyBlocktime)} for pages`] as const]),
    ...(report.recoveries === undefined ? [] : [['recovered', recoveriesText(report.recoveries)] as const]),
    ['total time', `${formatMs(report.totalTimeMs)}, and ${formatMs(report.saveTimeMs)} until all was read`],
    ['saved', report.saved ?? 'no: --save DIR keeps it'],
    ...blocks.map(({ idstr, length, sha256 }) => ['block', `${sha256}  ${idstr}  ${length}`] as const),
  ];
  return lines.map(([name, text]) => `${name.padEnd(12)} ${text}`).join('\n');
}
