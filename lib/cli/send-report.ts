/** What `postcopy send` says: its line while it runs, and the JSON or the lines at its end. Pure. */
import { outgoingFields } from '../logs/migration-fields.js';
import type { Manifest } from '../machine/manifest.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import { type Recoveries, type RecoveriesReport, recoveriesReport } from './auto-recovery.js';
import type { Look } from './live-line.js';
import { outgoingText, recoveriesText } from './migration-lines.js';
import { amountText, waitText } from './progress-text.js';
import { formatBytes, formatCount, formatMs } from './size.js';

/** The contract of `postcopy send --json`: times in milliseconds. */
export interface SendReport extends RecoveriesReport {
  readonly status: string;
  readonly postcopy: boolean;
  /** Its type, and what it does at the destination: the state it was in when it was saved. */
  readonly machine: string;
  readonly runState: string | null;
  readonly ram: OutgoingInfo['ram'];
  readonly downtimeMs: number;
  readonly totalTimeMs: number;
  readonly setupTimeMs: number;
}

export function sendReport(
  info: OutgoingInfo,
  manifest: Manifest,
  postcopy: boolean,
  recoveries: Recoveries,
): SendReport {
  const { status, ram, downtime: downtimeMs, totalTime: totalTimeMs, setupTime: setupTimeMs } = info;
  const { runState = null, configuration } = manifest;
  const { machine } = configuration;
  const times = { downtimeMs, totalTimeMs, setupTimeMs };
  return { status, postcopy, machine, runState, ram, ...times, ...recoveriesReport(recoveries) };
}

/** `bytesPerSecond`: over the last seconds. */
export function sendLook(info: OutgoingInfo, bytesPerSecond = 0): Look {
  const { ram, status } = info;
  const asked = ram.postcopyRequests > 0 ? `; ${formatCount(ram.postcopyRequests)} pages were asked for` : '';
  return {
    text: `${status}: ${outgoingText(info, bytesPerSecond)}${asked}`,
    mark: `${status} ${ram.transferred}`,
    fields: outgoingFields(info),
  };
}

export function connectingLook(uri: string, ms: number): Look {
  return { text: waitText(`connecting to ${uri}`, ms), mark: 'connecting', fields: { uri, waitedMs: ms } };
}

/** `bytesPerSecond`: since the last looks. */
export function loadLook(done: number, total: number, bytesPerSecond: number): Look {
  return {
    text: `reading RAM: ${amountText(done, total, bytesPerSecond)}`,
    mark: String(done),
    fields: { readBytes: done, ofBytes: total, bytesPerSecond },
  };
}

export function sendText(report: SendReport): string {
  const { ram, totalTimeMs } = report;
  const rate = totalTimeMs > 0 ? (ram.transferred / totalTimeMs) * 1000 : 0;
  const way = report.postcopy ? 'postcopy' : 'precopy';
  const lines: readonly (readonly [string, string])[] = [
    ['machine', `${report.machine}, now ${report.runState ?? 'running'} at the destination; by ${way}`],
    ['RAM', `${formatBytes(ram.total)}: ${formatCount(ram.normal)} pages, ${formatCount(ram.duplicate)} zero pages`],
    ['on the wire', `${formatBytes(ram.transferred)}, ${formatBytes(rate)}/s`],
    ['requests', formatCount(ram.postcopyRequests)],
    ['downtime', formatMs(report.downtimeMs)],
    ...(report.recoveries === undefined ? [] : [['recovered', recoveriesText(report.recoveries)] as const]),
    ['total time', formatMs(totalTimeMs)],
  ];
  return lines.map(([name, text]) => `${name.padEnd(12)} ${text}`).join('\n');
}
