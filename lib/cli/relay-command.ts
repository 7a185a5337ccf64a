/**
 * `postcopy relay`: stands between two migration peers, passes on what they say, and records it, slows it down
 * or breaks it. Exit code 0 when all connections have closed, 1 when one could not be made or recorded, 130 when
 * interrupted.
 */
import { type Command, Option } from 'commander';
import { errorFields } from '../logs/migration-fields.js';
import type { ConnectionStats } from '../relay/connection.js';
import { type CutHow, type Direction, directions, type Fault } from '../relay/faults.js';
import { MessageLog } from '../relay/message-log.js';
import { createRelay, type Relay, type RelayStats } from '../relay/relay.js';
import { EXIT_FAILURE, EXIT_INTERRUPTED, eachArgument, number, onInterrupt, printJson, sized } from './command-line.js';
import { failureReport } from './failure.js';
import { type Corruption, type FaultPlace, faultText, parseCorruption, parsePlace } from './fault-arguments.js';
import { addHelp } from './help.js';
import { addLogOptions, type LogOptions } from './log-options.js';
import { createRelayProgress, type RelayProgress } from './relay-progress.js';
import { formatBytes, formatMs, parseMs, parseRate, parseSize } from './size.js';

interface RelayCommandOptions extends LogOptions {
  readonly record?: string;
  readonly rate: number;
  readonly delay: number;
  readonly jitter: number;
  readonly seed: number;
  readonly buffer: number;
  readonly cutAfter?: readonly FaultPlace[];
  readonly cutDirection: Direction;
  readonly cutHow: CutHow;
  readonly stallAfter?: readonly FaultPlace[];
  readonly stallDirection: Direction;
  readonly corrupt?: readonly Corruption[];
  readonly corruptDirection: Direction;
  readonly connectTimeout: number;
  readonly keep?: boolean;
  readonly decode?: boolean;
  readonly json?: boolean;
}

function faultsOf(options: RelayCommandOptions): Fault[] {
  const { cutAfter = [], cutDirection, cutHow, stallAfter = [], stallDirection, corrupt = [] } = options;
  return [
    ...cutAfter.map((place): Fault => ({ kind: 'cut', ...place, direction: cutDirection, how: cutHow })),
    ...stallAfter.map((place): Fault => ({ kind: 'stall', ...place, direction: stallDirection })),
    ...corrupt.map((place): Fault => ({ kind: 'corrupt', ...place, direction: options.corruptDirection })),
  ];
}

/** Says what happens to the connections. */
function narrate(relay: Relay, to: string, progress: RelayProgress): void {
  const tell = (stats: ConnectionStats, what: string) =>
    progress.event(`connection ${stats.connection}: ${what}`, { ...stats });
  relay.on('waiting', (stats) => tell(stats, `nobody at ${to} yet, trying again`));
  relay.on('open', (stats) => tell(stats, 'open'));
  relay.on('fault', (stats, fault) => tell(stats, faultText(fault)));
  relay.on('closed', (stats) => tell(stats, `${stats.state}, ${passedText(stats)}`));
}

const passedText = ({ s2d, d2s }: { readonly s2d: number; readonly d2s: number }): string =>
  `${formatBytes(s2d)} to the destination, ${formatBytes(d2s)} back`;

/** Resolved when there is no more to do; rejects where a connection could not be dialled on. */
function ending(relay: Relay, keep: boolean, interrupted: AbortSignal, progress: RelayProgress): Promise<void> {
  return new Promise((resolve, reject) => {
    interrupted.addEventListener('abort', () => resolve());
    relay.on('idle', () => keep || resolve());
    relay.on('failed', (stats, error) => {
      if (keep)
        progress.event(`connection ${stats.connection}: ${error.message}`, { level: 'error', ...errorFields(error) });
      else reject(error);
    });
  });
}

function report(stats: RelayStats, ms: number, recorded: string | undefined): string {
  return [
    ...stats.connections.map((each) => `connection ${each.connection}  ${each.state.padEnd(8)}  ${passedText(each)}`),
    `in all        ${formatMs(ms).padEnd(8)}  ${passedText(stats)}`,
    ...(recorded === undefined ? [] : [`recorded      ${recorded}index.jsonl`]),
  ].join('\n');
}

async function runRelay(from: string, to: string, options: RelayCommandOptions): Promise<void> {
  const interrupted = onInterrupt();
  const progress = await createRelayProgress(options);
  const { rate, delay: delayMs, jitter: jitterMs, seed, buffer: bufferBytes, connectTimeout, record } = options;
  const { keep = false, decode = false, json = false } = options;
  const relay = await createRelay(from, to, {
    ...{ rate, delayMs, jitterMs, seed, bufferBytes, connectTimeoutMs: connectTimeout, faults: faultsOf(options) },
    ...(record === undefined ? {} : { record }),
  });
  progress.event(`listening at ${relay.uri}, for ${to}`);
  narrate(relay, to, progress);
  relay.on('warning', (error) => {
    progress.event(`no longer recorded or decoded: ${error.message}`, { level: 'error', ...errorFields(error) });
    process.exitCode = EXIT_FAILURE;
  });
  // Lines of records and a line of numbers don't go together on a terminal.
  if (decode) logMessages(relay);
  else progress.follow(relay.uri, () => relay.stats);
  const started = performance.now();
  let failure: unknown;
  try {
    await ending(relay, keep, interrupted, progress);
  } catch (error) {
    failure = error;
  }
  await relay.close();
  progress.end();
  const { stats, recordedAt } = relay;
  for (const fault of stats.faultsLeft) progress.event(`this did not happen: ${faultText(fault)}`, { level: 'warn' });
  const ms = performance.now() - started;
  const failed = failure === undefined ? {} : failureReport(failure);
  if (json) printJson({ ...stats, seconds: ms / 1000, recorded: recordedAt ?? null, ...failed });
  else process.stdout.write(`${report(stats, ms, recordedAt)}\n`);
  if (failure !== undefined) throw failure;
  if (interrupted.aborted) process.exitCode = EXIT_INTERRUPTED;
}

function logMessages(relay: Relay): void {
  // Whoever reads this may have seen enough, as `head` has; the connections go on.
  process.stdout.on('error', () => {});
  relay.observe(new MessageLog((line) => process.stdout.write(`${line}\n`)));
}

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  const direction = (flags: string, what: string) =>
    new Option(flags, what).choices(directions).default('s2d' satisfies Direction);
  addHelp(command, {
    about:
      'Whoever migrates to <in> comes out at <out>: two QEMUs, two of ours, or one of each (docs/relay.md). ' +
      'A recording is read by "postcopy inspect".',
    examples: [
      { line: 'postcopy relay unix:/tmp/in.sock unix:/tmp/out.sock --decode', does: 'A line for each message:' },
      { line: 'postcopy relay unix:/tmp/in.sock tcp:far:4444 --record run1/', does: 'Recorded:' },
      { line: 'postcopy relay tcp::4444 tcp:far:4444 --rate 1Gbit --delay 20ms --jitter 5ms', does: 'A long way:' },
      {
        line: 'postcopy relay unix:/tmp/in.sock unix:/tmp/out.sock --cut-after 64M --keep',
        does: 'Broken once, and there for the recovery:',
      },
    ],
    succeeds: 'all connections have closed',
    fails: 'one could not be made or recorded',
  });
  command
    .argument('<in>', 'where the source connects to: unix:/path or tcp:host:port')
    .argument('<out>', 'where the destination listens')
    .optionsGroup('Network:')
    .addOption(sized('--rate <rate>', 'bytes a second each way, over all connections; 0 is no limit', parseRate, '0'))
    .addOption(sized('--delay <time>', 'how long bytes take, each way, such as 50ms', parseMs, '0'))
    .addOption(sized('--jitter <time>', 'up to so much more, at random', parseMs, '0'))
    .option('--seed <n>', 'of the jitter', number(0, 2 ** 32 - 1), 1)
    .addOption(sized('--buffer <size>', 'bytes on their way at most, each way, if delayed', parseSize, '64M'))
    .addOption(sized('--connect-timeout <time>', 'how long to wait for someone at <out>', parseMs, '10s'))
    .option('--keep', 'stay when all connections have closed, for those of a recovery, until interrupted')
    .optionsGroup('Faults:')
    .option('--cut-after <size[@n]>', 'break connection n (0; or all) after so many bytes', eachArgument(parsePlace))
    .addOption(direction('--cut-direction <direction>', 'whose bytes are counted'))
    .addOption(new Option('--cut-how <how>', 'an end in good order, or a reset').choices(['fin', 'rst']).default('fin'))
    .option('--stall-after <size[@n]>', 'go silent, and keep the connection', eachArgument(parsePlace))
    .addOption(direction('--stall-direction <direction>', 'whose bytes are counted'))
    .option('--corrupt <offset[:xor][@n]>', 'change a byte', eachArgument(parseCorruption))
    .addOption(direction('--corrupt-direction <direction>', 'whose byte'))
    .optionsGroup('Output:')
    .option('--record <path>', 'record all bytes: into a folder, or to files whose names begin so')
    .option('--decode', 'print a line for each record and message that passes')
    .option('--json', 'print one JSON object as the last line')
    .action(runRelay);
  addLogOptions(command);
}
