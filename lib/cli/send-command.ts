/**
 * `postcopy send`: sends on the machine that `postcopy receive --save` kept; recovers by itself where the connection is
 * lost. Exit code 0 when the destination has it, 1 when it has not, 130 when interrupted; the saved machine stays as it
 * is in any case.
 */
import type { Command } from 'commander';
import { describeError, MigrationError } from '../errors.js';
import { errorFields, outgoingFields } from '../logs/migration-fields.js';
import { saveRemainderHalf } from '../machine/half-machine.js';
import { SaveDirectory } from '../machine/save-directory.js';
import type { SavedMachine } from '../machine/saved-machine.js';
import { migrate } from '../migration/migrate.js';
import { type PreparedMigration, prepareMigration } from '../migration/prepare-migration.js';
import type { OutgoingMigration } from '../source/outgoing.js';
import { AutoRecovery, isOfPause } from './auto-recovery.js';
import { onInterrupt, printJson, sized } from './command-line.js';
import { lanesOption } from './demand-options.js';
import { addHelp } from './help.js';
import { createLiveLine, type LiveLine } from './live-line.js';
import { addLogOptions, type LogOptions } from './log-options.js';
import { addMetricsOptions, type MetricsOptions } from './metrics-options.js';
import { openMachine } from './open-machine.js';
import { RateMeter } from './progress-text.js';
import { addRecoveryOptions, type RecoveryOptions, toMs } from './recovery-options.js';
import { connectingLook, sendLook, sendReport, sendText } from './send-report.js';
import { parseRate } from './size.js';
import { addWatchOptions, type WatchOptions } from './watch-options.js';
import { Watchers } from './watchers.js';

interface SendOptions extends RecoveryOptions, LogOptions, MetricsOptions, WatchOptions {
  readonly from: string;
  readonly postcopy?: boolean;
  readonly postcopyPreempt?: boolean;
  readonly lanes: number;
  readonly recoverUri?: string;
  readonly saveRemainder?: string;
  readonly maxBandwidth: number;
  readonly maxPostcopyBandwidth: number;
  readonly verify: boolean;
  readonly json?: boolean;
}

/** Keeps what the destination may not have of a machine that was handed over and did not go over whole. */
async function keepRemainder(
  saved: SavedMachine,
  outgoing: OutgoingMigration,
  uri: string,
  directory: SaveDirectory,
  line: LiveLine,
): Promise<void> {
  const { machine, ramBlocks } = saved;
  const deviceState = await saved.saveDeviceState();
  const pages = outgoing.remainder();
  await saveRemainderHalf(directory, { machine, ramBlocks, pages, deviceState, peer: { uri, postcopy: true } });
  line.event(
    `what the destination may not have is saved in ${directory.path}; with what "receive --save" keeps it is made ` +
      `whole by\n  postcopy reconcile DESTINATION_DIR ${directory.path} --out DIR`,
  );
}

/** Given up as its user wished, it was interrupted. */
function asInterrupted(error: unknown): unknown {
  if (!(error instanceof MigrationError) || error.code !== 'RECOVERY_GIVEN_UP') return error;
  const { message, hint } = error;
  return new MigrationError('CANCELLED', message, { hint, cause: error });
}

async function send(
  uri: string,
  options: SendOptions,
  machine: SavedMachine,
  prepared: PreparedMigration,
  remainderDirectory: SaveDirectory | undefined,
  line: LiveLine,
  watchers: Watchers,
  signal: AbortSignal,
): Promise<void> {
  const { postcopy = false, postcopyPreempt = false, maxBandwidth, maxPostcopyBandwidth, json = false } = options;
  const began = performance.now();
  line.follow(() => connectingLook(uri, performance.now() - began));
  const outgoing = await migrate(machine, uri, {
    // In a precopy the destination is heard as well: what was sent may not be what it can take.
    capabilities: { postcopyRam: postcopy, postcopyPreempt, returnPath: true },
    parameters: { maxBandwidth, maxPostcopyBandwidth },
    peerTimeoutMs: toMs(options.peerTimeout),
    lanes: options.lanes,
    ...(postcopy ? { postcopyAfterPasses: 0 } : {}),
    prepared,
    signal,
  });
  outgoing.on('status', (status) => {
    const detail = { event: 'status', ...outgoingFields(outgoing.info()), status };
    if (!isOfPause(status)) line.event(status, detail);
  });
  outgoing.on('pass', (passes) => line.event(`pass ${passes} is done`, { level: 'debug', event: 'pass', passes }));
  outgoing.on('warning', (warning) => line.event(describeError(warning), { level: 'warn', ...errorFields(warning) }));
  const isObserved = watchers.outgoing(outgoing);
  const recovery = new AutoRecovery(outgoing, {
    forMs: toMs(options.recoverFor),
    attempt: () => outgoing.recover(options.recoverUri ?? uri),
    giveUp: () => outgoing.giveUp(),
    isHarmless: () => outgoing.hasPlacedAll,
    tell: line.event,
  });
  signal.addEventListener('abort', () => recovery.giveUpNow());
  const meter = new RateMeter();
  line.follow(() => {
    const info = outgoing.info();
    const rate = meter.look(info.ram.transferred);
    return recovery.look() ?? sendLook(info, rate);
  });
  try {
    const report = sendReport(await outgoing.finished, machine.manifest, postcopy, recovery.recoveries);
    line.end();
    if (json) printJson(report);
    else process.stdout.write(`${sendText(report)}\n`);
  } catch (error) {
    line.end();
    if (outgoing.handedOver && remainderDirectory !== undefined) {
      await keepRemainder(machine, outgoing, uri, remainderDirectory, line);
    }
    throw signal.aborted ? asInterrupted(error) : error;
  } finally {
    await isObserved;
  }
}

/** Throws BAD_ARGUMENT for what there is in a postcopy only. */
function check({ postcopy = false, postcopyPreempt = false, lanes }: SendOptions): void {
  if (postcopy || (!postcopyPreempt && lanes === 0)) return;
  const option = postcopyPreempt ? '--postcopy-preempt' : '--lanes';
  throw new MigrationError('BAD_ARGUMENT', `${option} without --postcopy`, {
    hint: 'give --postcopy too, at both sides',
  });
}

async function runSend(uri: string, options: SendOptions): Promise<void> {
  check(options);
  const signal = onInterrupt();
  const line = await createLiveLine(options);
  const { saveRemainder } = options;
  const remainderDirectory = saveRemainder === undefined ? undefined : await SaveDirectory.create(saveRemainder);
  let watchers: Watchers | undefined;
  try {
    watchers = await Watchers.open(options, `send to ${uri}`, line.event);
    const opening = openMachine(options.from, line, { verify: options.verify, signal });
    opening.catch(() => {}); // awaited below
    await using prepared = await prepareMigration();
    using machine = await opening;
    await send(uri, options, machine, prepared, remainderDirectory, line, watchers, signal);
  } finally {
    line.end();
    await watchers?.close();
    await remainderDirectory?.remove();
  }
}

const more = `
For a QEMU as the destination: start it with the machine type, devices and RAM of the source, and let it wait

  $ qemu-system-x86_64 -M pc-i440fx-7.2 -m 98312k … -incoming unix:/run/m.sock

For postcopy use "-incoming defer", and say in its monitor before this is started (QMP: migrate-incoming)

  (qemu) migrate_set_capability postcopy-ram on
  (qemu) migrate_incoming unix:/run/m.sock

A postcopy whose connection is lost is paused, and this connects again and again; a QEMU has to be told to listen:
"migrate_recover unix:/run/n.sock", which --recover-uri then names. Where it has not recovered within --recover-for, the
machine is lost at the destination; --save-remainder keeps what that may not have (docs/recovery.md).`;

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  addHelp(command, {
    about: 'The saved machine stays as it is, so it can be sent again.',
    examples: [
      { line: 'postcopy send unix:/run/m.sock --from vm1', does: 'By precopy:' },
      { line: 'postcopy send tcp:far:4444 --from vm1 --postcopy --postcopy-preempt', does: 'By postcopy:' },
      {
        line: 'postcopy send tcp:far:4444 --from vm1 --postcopy --save-remainder rest',
        does: 'With nothing lost where the destination fails:',
      },
      { line: 'postcopy send tcp:far:4444 --from vm1 --max-bandwidth 100MiB/s', does: 'With a limit:' },
    ],
    succeeds: 'the destination has it',
    fails: 'it has not',
    more,
  });
  command
    .argument('<uri>', 'where the destination listens: unix:/path or tcp:host:port')
    .optionsGroup('Machine:')
    .requiredOption('--from <dir>', 'the directory it is kept in')
    .option('--no-verify', "do not hold the files against the manifest's SHA-256")
    .optionsGroup('Migration:')
    .option('--postcopy', 'let it run at the destination first, and send its RAM as it is asked for')
    .option('--postcopy-preempt', 'send pages that are asked for on a connection of their own; at both sides')
    .addOption(lanesOption())
    .addOption(sized('--max-bandwidth <rate>', 'in precopy, such as 100M/s or 1Gbit; 0 is no limit', parseRate, '0'))
    .addOption(sized('--max-postcopy-bandwidth <rate>', 'the same for background pages in postcopy', parseRate, '0'))
    .optionsGroup('Recovery:')
    .option('--recover-uri <uri>', 'where to connect to recover; the same as at first when absent')
    .option(
      '--save-remainder <dir>',
      'keep there, new or empty, what a destination that has lost the machine may not have',
    )
    .action(runSend);
  addRecoveryOptions(command).optionsGroup('Output:').option('--json', 'print one JSON object as the last line');
  addWatchOptions(addMetricsOptions(addLogOptions(command)));
}
