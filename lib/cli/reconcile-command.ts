/**
 * `postcopy reconcile`: makes a whole machine of the two halves that "receive" and "send" saved when their migration
 * was given up. Exit code 0 when it is there, 1 when it can't be made, 130 when interrupted.
 */
import type { Command } from 'commander';
import { reconcileHalves } from '../machine/reconcile.js';
import { onInterrupt, printJson } from './command-line.js';
import { addHelp } from './help.js';
import { createLiveLine } from './live-line.js';
import { RateMeter } from './progress-text.js';
import { reconcileLook, reconcileReport, reconcileText } from './reconcile-report.js';

interface ReconcileCommandOptions {
  readonly out: string;
  readonly json?: boolean;
}

async function runReconcile(destination: string, source: string, options: ReconcileCommandOptions): Promise<void> {
  const { out, json = false } = options;
  const signal = onInterrupt();
  const line = await createLiveLine();
  const began = performance.now();
  let done = 0;
  let total = 0;
  const meter = new RateMeter();
  line.follow(() => reconcileLook(done, total, meter.look(done)));
  const onProgress = (bytes: number, ofBytes: number) => {
    done = bytes;
    total = ofBytes;
  };
  try {
    const reconciled = await reconcileHalves(destination, source, out, { onProgress, signal });
    const report = reconcileReport(reconciled, performance.now() - began);
    line.end();
    if (json) printJson(report);
    else process.stdout.write(`${reconcileText(report)}\n`);
  } finally {
    line.end();
  }
}

const about =
  'A postcopy that is given up leaves part of the machine at each side: what the destination received, and what it ' +
  'may not have, which is at the source still. "receive --save" and "send --save-remainder" keep them ' +
  '(docs/recovery.md).';

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  addHelp(command, {
    about,
    examples: [
      { line: 'postcopy reconcile received rest --out whole', does: 'One machine of two halves:' },
      { line: 'postcopy send unix:/run/m.sock --from whole', does: 'And on with it:' },
    ],
    succeeds: 'the whole machine is there',
    fails: 'it cannot be made of these halves',
  });
  command
    .argument('<destination-dir>', 'the destination\'s half, which "receive --save" kept')
    .argument('<source-dir>', 'the source\'s half, which "send --save-remainder" kept')
    .requiredOption('--out <dir>', 'where it is to be: a directory that is not there')
    .option('--json', 'print one JSON object as the last line')
    .action(runReconcile);
}
