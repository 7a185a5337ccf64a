/**
 * `postcopy receive`: takes whatever machine is sent to it, such as a QEMU's, and keeps it; recovers by itself where
 * the connection is lost. Exit code 0 when all of it is here and saved, 1 when it is not, 130 when interrupted.
 */
import { type Command, Option } from 'commander';
import type { IncomingMigration } from '../destination/incoming.js';
import { MigrationError } from '../errors.js';
import { incomingFields } from '../logs/migration-fields.js';
import { MachineSaver } from '../machine/machine-saver.js';
import { listen } from '../migration/listen.js';
import type { PrefetchPolicy } from '../options.js';
import { AutoRecovery, isOfPause } from './auto-recovery.js';
import { onInterrupt, printJson } from './command-line.js';
import { lanesOption, prefetchOption } from './demand-options.js';
import { addHelp } from './help.js';
import { createLiveLine, type LiveLine } from './live-line.js';
import { addLogOptions, type LogOptions } from './log-options.js';
import { type LossPolicy, LostMachine, lossPolicies } from './lost-machine.js';
import { addMetricsOptions, type MetricsOptions } from './metrics-options.js';
import { RateMeter } from './progress-text.js';
import { awaitingLook, receiveLook, receiveReport, receiveText } from './receive-report.js';
import { addRecoveryOptions, type RecoveryOptions, toMs } from './recovery-options.js';
import { addWatchOptions, type WatchOptions } from './watch-options.js';
import { Watchers } from './watchers.js';

interface ReceiveOptions extends RecoveryOptions, LogOptions, MetricsOptions, WatchOptions {
  readonly save?: string;
  readonly like?: string;
  readonly postcopy: boolean;
  readonly postcopyPreempt?: boolean;
  readonly prefetch: PrefetchPolicy;
  readonly lanes: number;
  readonly blocktime?: boolean;
  readonly onLost: LossPolicy;
  readonly json?: boolean;
}

/** Shows how far it is, from the wait for a source on. */
function follow(line: LiveLine, incoming: IncomingMigration, recovery: AutoRecovery, saver: MachineSaver): void {
  const began = performance.now();
  const stream = new RateMeter();
  const reading = new RateMeter();
  line.follow(() => {
    const info = incoming.info();
    const rates = { stream: stream.look(info.ram.transferred), reading: reading.look(saver.progress.done) };
    if (info.status === 'setup') return awaitingLook(incoming.uri, performance.now() - began);
    return recovery.look() ?? receiveLook(info, saver.progress, rates);
  });
}

/** What goes on between the connection of a source and the end: said, and recovered from where it can be. */
function attend(incoming: IncomingMigration, lost: LostMachine, { recoverFor }: ReceiveOptions, line: LiveLine) {
  const times = { connectedAt: performance.now() };
  incoming.on('status', (status) => {
    if (status === 'active') times.connectedAt = performance.now();
    const detail = { event: 'status', ...incomingFields(incoming.info()), status };
    if (!isOfPause(status)) line.event(status === 'active' ? 'a source has connected' : status, detail);
  });
  const recovery = new AutoRecovery(incoming, {
    forMs: toMs(recoverFor),
    attempt: async () => line.event(`listening for its recovery at ${await incoming.recover()}`),
    giveUp: () => lost.giveUp(),
    tell: line.event,
  });
  return { times, recovery };
}

/** What did not come whole is left to `lost`, made for the migration. */
async function receive(
  uri: string,
  options: ReceiveOptions,
  saver: MachineSaver,
  line: LiveLine,
  watchers: Watchers,
  interrupted: AbortSignal,
): Promise<void> {
  const { postcopy: postcopyRam, postcopyPreempt = false, blocktime = false } = options;
  const postcopyBlocktime = blocktime || watchers.showBlocktime;
  const incoming = await listen(uri, {
    guest: saver,
    capabilities: { postcopyRam, postcopyPreempt, postcopyBlocktime },
    peerTimeoutMs: toMs(options.peerTimeout),
    prefetch: options.prefetch,
    lanes: options.lanes,
    signal: interrupted,
  });
  line.event(`listening at ${incoming.uri}`, { event: 'listening', uri: incoming.uri });
  const isObserved = watchers.incoming(incoming);
  const { onLost: policy, save: directory, json = false } = options;
  const lost = new LostMachine(incoming, saver, { policy, directory, tell: line.event });
  const { times, recovery } = attend(incoming, lost, options, line);
  follow(line, incoming, recovery, saver);
  try {
    await incoming.finished;
  } catch (error) {
    line.end();
    await isObserved;
    await lost.settle(error, interrupted);
    if (directory !== undefined && !lost.isKept) line.event(`nothing is saved in ${directory}`, { level: 'error' });
    throw error;
  }
  const completedAt = performance.now();
  await isObserved;
  // From here on it is only the reading that can be interrupted.
  interrupted.addEventListener('abort', () => void saver.close().catch(() => {}));
  if (interrupted.aborted) throw new MigrationError('CANCELLED', 'ended before the machine was saved');
  const info = incoming.info();
  const machine = await saver.finish({ uri: incoming.uri, postcopy: info.postcopy });
  const report = receiveReport(
    info,
    machine,
    { totalTimeMs: completedAt - times.connectedAt, saveTimeMs: performance.now() - completedAt },
    recovery.recoveries,
  );
  line.end();
  if (json) printJson(report);
  else process.stdout.write(`${receiveText(report)}\n`);
}

async function runReceive(uri: string, options: ReceiveOptions): Promise<void> {
  const interrupted = onInterrupt();
  const line = await createLiveLine(options);
  const { save: directory, like } = options;
  const saver = await MachineSaver.create({
    ...(directory === undefined ? {} : { directory }),
    ...(like === undefined ? {} : { like }),
  });
  let watchers: Watchers | undefined;
  try {
    watchers = await Watchers.open(options, `receive at ${uri}`, line.event);
    await receive(uri, options, saver, line, watchers, interrupted);
  } finally {
    line.end();
    await watchers?.close();
    await saver.close();
  }
}

const more = `
For a QEMU as the source: start this, then say in its monitor (QMP: migrate, migrate-set-capabilities)

  (qemu) migrate_set_capability postcopy-ram on
  (qemu) migrate -d unix:/run/m.sock
  (qemu) migrate_start_postcopy

The first and the last line are for postcopy. "postcopy send" sends on what was saved (docs/machines.md).

A postcopy whose connection is lost is paused: this listens again at the same URI for a source that recovers, such as
"postcopy send", or a QEMU that is told "migrate -r unix:/run/m.sock". Where none has within --recover-for, the machine
is lost, and --on-lost says what becomes of its memory: "exit" ends, "freeze" keeps it with who waits for a missing page
waiting, "poison" has a missing page raise SIGBUS in who reads it. What came is kept in --save (docs/recovery.md).`;

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  addHelp(command, {
    about:
      'Its RAM is read while it comes, so pages that have not come are asked for as they are by a guest that runs.',
    examples: [
      { line: 'postcopy receive unix:/run/m.sock --save vm1', does: 'Keep a machine:' },
      {
        line: 'postcopy receive tcp:0.0.0.0:4444 --save vm2 --like vm1',
        does: 'From another host, only if it is like it:',
      },
      {
        line: 'postcopy receive unix:/run/m.sock --postcopy-preempt --prefetch adaptive --json',
        does: 'Not kept, as a check of what is sent, for a script:',
      },
    ],
    succeeds: 'all of it is here, and saved where that was asked for',
    fails: 'it is not',
    more,
  });
  command
    .argument('<uri>', 'where to listen: unix:/path or tcp:host:port')
    .optionsGroup('Machine:')
    .option('--save <dir>', 'keep it, or the half that came, in this directory, which must be new or empty')
    .option('--like <dir>', 'take only a machine like the one saved in this directory')
    .optionsGroup('Migration:')
    .addOption(new Option('--no-postcopy', 'refuse postcopy').conflicts(['postcopyPreempt', 'lanes']))
    .option('--postcopy-preempt', 'have pages that are asked for come on a connection of their own; at both sides')
    .addOption(prefetchOption())
    .addOption(lanesOption())
    .option('--blocktime', 'tell for how long the reading of RAM waited for pages')
    .optionsGroup('Recovery:')
    .addOption(
      new Option('--on-lost <policy>', 'what becomes of the memory of a machine that is lost here')
        .choices(lossPolicies)
        .default('exit'),
    )
    .action(runReceive);
  addRecoveryOptions(command).optionsGroup('Output:').option('--json', 'print one JSON object as the last line');
  addWatchOptions(addMetricsOptions(addLogOptions(command)));
}
