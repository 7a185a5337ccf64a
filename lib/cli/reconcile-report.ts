/** What `postcopy reconcile` says: its line while it runs, and the JSON or the lines at its end. Pure. */
import type { Reconciled, ReconciledBlock } from '../machine/reconcile.js';
import type { Look } from './live-line.js';
import { amountText } from './progress-text.js';
import { formatBytes, formatCount, formatMs } from './size.js';

/** The contract of `postcopy reconcile --json`: lengths in bytes, times in milliseconds. */
export interface ReconcileReport {
  /** The machine type, and what it was doing when it was stopped. */
  readonly machine: string;
  readonly runState: string | null;
  readonly blocks: readonly ReconciledBlock[];
  /** Target pages of all blocks by the half that they were taken from. */
  readonly pages: { readonly fromDestination: number; readonly fromSource: number };
  readonly deviceStateBytes: number;
  readonly totalTimeMs: number;
  /** The directory of the whole machine. */
  readonly saved: string;
}

const sum = (blocks: readonly ReconciledBlock[], of: (block: ReconciledBlock) => number): number =>
  blocks.reduce((total, block) => total + of(block), 0);

export function reconcileReport(reconciled: Reconciled, totalTimeMs: number): ReconcileReport {
  const { machine, runState = null, blocks, deviceStateBytes, directory: saved } = reconciled;
  const pages = {
    fromDestination: sum(blocks, ({ fromDestination }) => fromDestination),
    fromSource: sum(blocks, ({ fromSource }) => fromSource),
  };
  return { machine, runState, blocks, pages, deviceStateBytes, totalTimeMs, saved };
}

/** `bytesPerSecond`: since the last looks. */
export function reconcileLook(done: number, total: number, bytesPerSecond: number): Look {
  return { text: `writing RAM: ${amountText(done, total, bytesPerSecond)}`, mark: String(done) };
}

export function reconcileText(report: ReconcileReport): string {
  const { machine, runState, blocks, pages, saved } = report;
  const total = sum(blocks, ({ length }) => length);
  const lines: readonly (readonly [string, string])[] = [
    ['machine', `${machine}, ${runState ?? 'in no known state'} when it was stopped`],
    ['RAM', `${formatBytes(total)} in ${blocks.length} blocks`],
    [
      'pages',
      `${formatCount(pages.fromDestination)} of the destination, ${formatCount(pages.fromSource)} of the source`,
    ],
    ['total time', formatMs(report.totalTimeMs)],
    ['saved', saved],
    ...blocks.map(({ idstr, length, sha256 }) => ['block', `${sha256}  ${idstr}  ${length}`] as const),
  ];
  return lines.map(([name, text]) => `${name.padEnd(12)} ${text}`).join('\n');
}
