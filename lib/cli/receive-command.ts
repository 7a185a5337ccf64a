/**
 * `postcopy receive`: takes whatever machine is sent to it, such as a QEMU's, and keeps it. Exit code 0 when all of
 * it is here and saved, 1 when it is not, 130 when interrupted.
 */
import type { Command } from 'commander';
import type { IncomingMigration } from '../destination/incoming.js';
import { MigrationError } from '../errors.js';
import { MachineSaver } from '../machine/machine-saver.js';
import { listen } from '../migration/listen.js';
import { onInterrupt, printJson } from './command-line.js';
import { createLiveLine, type LiveLine } from './live-line.js';
import { receiveLook, receiveReport, receiveText } from './receive-report.js';
import { formatCount } from './size.js';

interface ReceiveOptions {
  readonly save?: string;
  readonly like?: string;
  readonly postcopy: boolean;
  readonly blocktime?: boolean;
  readonly json?: boolean;
}

/** Shows how far it is, with the rate since the last look. */
function follow(line: LiveLine, incoming: IncomingMigration, saver: MachineSaver): void {
  let last = { at: performance.now(), transferred: 0 };
  line.follow(() => {
    const info = incoming.info();
    const next = { at: performance.now(), transferred: info.ram.transferred };
    const ms = next.at - last.at;
    const rate = ms > 0 ? ((next.transferred - last.transferred) / ms) * 1000 : 0;
    last = next;
    return receiveLook(info, saver.progress, rate);
  });
}

/** Says what a failure means for the machine, which is at the source unless it was handed over. */
function tellLoss(line: LiveLine, incoming: IncomingMigration): void {
  const { lost } = incoming.info();
  if (lost === undefined) return;
  line.event(
    `the machine had been handed over and is lost: ${formatCount(lost.missingPages)} of its pages had not come`,
  );
}

async function receive(
  uri: string,
  options: ReceiveOptions,
  saver: MachineSaver,
  line: LiveLine,
  interrupted: AbortSignal,
): Promise<void> {
  const { postcopy: postcopyRam, blocktime: postcopyBlocktime = false, json = false } = options;
  const incoming = await listen(uri, {
    guest: saver,
    capabilities: { postcopyRam, postcopyBlocktime },
    signal: interrupted,
  });
  line.event(`listening at ${incoming.uri}`);
  let connectedAt = performance.now();
  incoming.on('status', (status) => {
    if (status === 'active') connectedAt = performance.now();
    line.event(status === 'active' ? 'a source has connected' : status);
  });
  follow(line, incoming, saver);
  try {
    await incoming.finished;
  } catch (error) {
    tellLoss(line, incoming);
    incoming.abandon();
    throw error;
  }
  const completedAt = performance.now();
  // From here on it is only the reading that can be interrupted.
  interrupted.addEventListener('abort', () => void saver.close().catch(() => {}));
  if (interrupted.aborted) throw new MigrationError('CANCELLED', 'ended before the machine was saved');
  const info = incoming.info();
  const machine = await saver.finish({ uri: incoming.uri, postcopy: info.postcopy });
  const times = { totalTimeMs: completedAt - connectedAt, saveTimeMs: performance.now() - completedAt };
  const report = receiveReport(info, machine, times);
  line.end();
  if (json) printJson(report);
  else process.stdout.write(`${receiveText(report)}\n`);
}

async function runReceive(uri: string, options: ReceiveOptions): Promise<void> {
  const interrupted = onInterrupt();
  const { save: directory, like } = options;
  const saver = await MachineSaver.create({
    ...(directory === undefined ? {} : { directory }),
    ...(like === undefined ? {} : { like }),
  });
  const line = createLiveLine();
  try {
    await receive(uri, options, saver, line, interrupted);
  } catch (error) {
    line.end();
    if (directory !== undefined) line.event(`nothing is saved in ${directory}`);
    throw error;
  } finally {
    await saver.close();
  }
}

const help = `
For a QEMU as the source: start this, then say in its monitor (QMP: migrate, migrate-set-capabilities)

  (qemu) migrate_set_capability postcopy-ram on
  (qemu) migrate -d unix:/run/m.sock
  (qemu) migrate_start_postcopy

The first and the last line are for postcopy. "postcopy send" sends on what was saved (docs/machines.md).`;

/** Adds the command to `program`. */
export function addReceiveCommand(program: Command): void {
  program
    .command('receive')
    .description('take a machine over from a QEMU or from "postcopy send", and keep it')
    .argument('<uri>', 'where to listen: unix:/path or tcp:host:port')
    .option('--save <dir>', 'keep it in this directory, which must be new or empty')
    .option('--like <dir>', 'take only a machine like the one saved in this directory')
    .option('--no-postcopy', 'refuse postcopy')
    .option('--blocktime', 'tell for how long the reading of RAM waited for pages')
    .option('--json', 'print one JSON object as the last line')
    .addHelpText('after', help)
    .action(runReceive);
}
