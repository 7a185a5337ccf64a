/**
 * `postcopy host`: holds a guest, or waits for one, and is driven over QMP as a QEMU is. Exit code 0 at the command
 * quit, 130 when interrupted, 1 where it could not begin.
 */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describeError, MigrationError } from '../errors.js';
import { errorFields } from '../logs/migration-fields.js';
import type { PrefetchPolicy } from '../options.js';
import { createCommands } from '../qmp/commands.js';
import { GuestHost } from '../qmp/guest-host.js';
import type { QmpVersion } from '../qmp/messages.js';
import { QmpServer } from '../qmp/server.js';
import { EXIT_INTERRUPTED, onInterrupt } from './command-line.js';
import { lanesOption, prefetchOption } from './demand-options.js';
import { addGuestOptions } from './guest-options.js';
import { addHelp } from './help.js';
import { type HostGuest, type HostGuestOptions, hostGuest } from './host-guest.js';
import { createLiveLine, type LiveLine } from './live-line.js';
import { addLogOptions, type LogOptions } from './log-options.js';
import { addMetricsOptions, type MetricsOptions } from './metrics-options.js';
import { addWatchOptions, type WatchOptions } from './watch-options.js';
import { Watchers } from './watchers.js';

interface HostOptions extends HostGuestOptions, LogOptions, MetricsOptions, WatchOptions {
  readonly qmp: readonly string[];
  readonly qmpAnyHost?: boolean;
  readonly prefetch: PrefetchPolicy;
  readonly lanes: number;
}

/** To wait with a place to listen at that QMP tells. */
const DEFER = 'defer';

/** The QEMU whose QMP this is, and who speaks it. */
function version(): QmpVersion {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return { qemu: { major: 7, minor: 2, micro: 0 }, package: `postcopy ${JSON.parse(text).version}` };
}

function hold({ holds, attend }: HostGuest, { prefetch, lanes }: HostOptions): GuestHost {
  const host = new GuestHost({ ...holds, outgoing: { lanes }, incoming: { prefetch, lanes } });
  host.on('incoming', (migration) => attend?.(migration));
  return host;
}

/** All or none of them. */
async function serve(
  host: GuestHost,
  { qmp, qmpAnyHost: anyHost = false }: HostOptions,
  tell: LiveLine['event'],
): Promise<QmpServer[]> {
  const commands = createCommands(host, version());
  const onClosed = (reason: string) => tell(`a client was closed: ${reason}`, { level: 'warn' });
  const servers: QmpServer[] = [];
  try {
    for (const uri of qmp) {
      servers.push(await QmpServer.listen(uri, { commands, version: version(), anyHost, onClosed }));
    }
  } catch (error) {
    await Promise.all(servers.map((server) => server.close()));
    throw error;
  }
  return servers;
}

async function begin(host: GuestHost, { runs }: HostGuest, { incoming }: HostOptions): Promise<void> {
  if (runs) await host.cont();
  if (incoming !== undefined && incoming !== DEFER) await host.listen(incoming);
}

async function runHost(options: HostOptions): Promise<void> {
  const interrupted = onInterrupt();
  const line = await createLiveLine(options);
  const tell = line.event;
  const guest = await hostGuest(options, line, interrupted);
  const host = hold(guest, options);
  const ended = new Promise<void>((resolve) => {
    host.on('quit', resolve);
    interrupted.addEventListener('abort', () => host.quit('host-signal'));
  });
  host.on('warning', (warning) => tell(describeError(warning), { level: 'warn', ...errorFields(warning) }));
  let servers: readonly QmpServer[] = [];
  host.on('event', (event) => {
    const { event: name, data } = event;
    tell(data === undefined ? name : `${name} ${JSON.stringify(data)}`, { event: name, data });
    for (const server of servers) server.tell(event);
  });
  let watchers: Watchers | undefined;
  host.on('outgoing', (migration) => void watchers?.outgoing(migration, guest.figures));
  host.on('incoming', (migration) => void watchers?.incoming(migration, guest.figures));
  try {
    if (interrupted.aborted) throw new MigrationError('CANCELLED', 'interrupted');
    servers = await serve(host, options, tell);
    watchers = await Watchers.open(options, `host of ${guest.title}`, tell);
    await begin(host, guest, options);
    for (const { uri } of servers) tell(`QMP at ${uri}`, { event: 'listening', uri });
    await ended;
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    await host.close();
    await watchers?.close();
    await guest.close?.();
  }
  // Ends also a guest that waits for pages which do not come any more.
  process.exit(interrupted.aborted ? EXIT_INTERRUPTED : 0);
}

const more = `
Any client of QMP drives them, such as socat. At the destination:

  $ socat - UNIX-CONNECT:/tmp/destination.qmp
  {"execute": "qmp_capabilities"}
  {"execute": "migrate-incoming", "arguments": {"uri": "unix:/tmp/m.sock"}}

And at the source:

  $ socat - UNIX-CONNECT:/tmp/source.qmp
  {"execute": "qmp_capabilities"}
  {"execute": "migrate", "arguments": {"uri": "unix:/tmp/m.sock"}}
  {"execute": "query-migrate"}
  {"execute": "quit"}`;

/** Gives the command its arguments and options, and what it does. */
export function define(command: Command): void {
  const each = (uri: string, before: readonly string[] = []): readonly string[] => [...before, uri];
  addHelp(command, {
    about: 'Its commands, events and errors are those of QEMU (docs/qmp.md).',
    examples: [
      { line: 'postcopy host --qmp unix:/tmp/source.qmp', does: 'A guest:' },
      { line: 'postcopy host --qmp unix:/tmp/source.qmp --machine vm1', does: 'The machine of a QEMU:' },
      {
        line: 'postcopy host --qmp unix:/tmp/destination.qmp --incoming defer',
        does: 'And room for one, to which the first is told to migrate:',
      },
    ],
    succeeds: 'it ended at the command quit',
    fails: 'it could not begin',
    more,
  });
  command
    .optionsGroup('Control:')
    .requiredOption('--qmp <uri>', 'where QMP clients connect: unix:/path or tcp:127.0.0.1:port; repeatable', each)
    .option('--qmp-any-host', 'let --qmp tcp:… be where other hosts can connect: whoever can has the guest')
    .option('--incoming <uri>', 'wait for a guest, at this URI; "defer": at that of the command migrate-incoming');
  addGuestOptions(command.optionsGroup('Guest:'), '; at both sides')
    .option(
      '--machine [dir]',
      'the machine of a QEMU instead: that which is kept in the directory, or with --incoming any, to be kept there',
    )
    .optionsGroup('Migration:')
    .addOption(prefetchOption())
    .addOption(lanesOption())
    .action(runHost);
  addWatchOptions(addMetricsOptions(addLogOptions(command.optionsGroup('Output:'))));
}
