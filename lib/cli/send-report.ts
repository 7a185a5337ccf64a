/** What `postcopy send` says: its line while it runs, and the JSON or the lines at its end. Pure. */
import type { Manifest } from '../machine/manifest.js';
import type { OutgoingInfo } from '../source/outgoing-info.js';
import { type Recoveries, type RecoveriesReport, recoveriesReport } from './auto-recovery.js';
import type { Look } from './live-line.js';
import { outgoingText, recoveriesText } from './migration-lines.js';
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

/** Milliseconds to go at the present rate; undefined while nothing moves. */
function remainingMs({ ram }: OutgoingInfo): number | undefined {
  return ram.mbps > 0 ? (ram.remaining * 8) / (ram.mbps * 1000) : undefined;
}

export function sendLook(info: OutgoingInfo): Look {
  const { ram, status } = info;
  const ms = remainingMs(info);
  const time = ms === undefined ? '' : ` in about ${formatMs(ms)}`;
  const asked = ram.postcopyRequests > 0 ? `; ${formatCount(ram.postcopyRequests)} pages were asked for` : '';
  return { text: `${status}: ${outgoingText(info)}${time}${asked}`, mark: `${status} ${ram.transferred}` };
}

export function loadLook(done: number, total: number): Look {
  return { text: `reading RAM: ${formatBytes(done)} of ${formatBytes(total)}`, mark: String(done) };
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
