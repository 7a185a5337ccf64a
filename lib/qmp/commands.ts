/** The commands of QMP that there are, as a table over the object that holds the guest. */
import { capabilityNames } from './capabilities.js';
import type { GuestHost } from './guest-host.js';
import { QmpError, type QmpVersion } from './messages.js';
import { toQmpNames } from './names.js';
import { someParameters } from './parameters.js';
import { events, results, statuses } from './results.js';
import { schema } from './schema.js';
import { command, NEGOTIATION, negotiation, type QmpCommand, type QmpCommands } from './session.js';

const uri = { type: 'string' } as const;
const flag = { type: 'boolean', optional: true } as const;
const capability = { capability: { type: 'enum', values: capabilityNames }, state: { type: 'boolean' } } as const;

function outgoingCommands(host: GuestHost): Record<string, QmpCommand> {
  return {
    migrate: command({ uri, blk: flag, inc: flag, detach: flag, resume: flag }, (given) => {
      if (given.blk || given.inc) throw new QmpError("'blk' and 'inc' migrate disks, and there are none here");
      if (given.resume) host.resume(given.uri);
      else host.migrate(given.uri);
    }),
    'migrate-start-postcopy': command({}, () => host.startPostcopy()),
    migrate_cancel: command({}, () => host.cancel()),
    'migrate-continue': command({ state: { type: 'enum', values: statuses } }, ({ state }) => host.continue(state)),
  };
}

function migrationCommands(host: GuestHost): Record<string, QmpCommand> {
  return {
    'migrate-incoming': command({ uri }, (given) => host.listen(given.uri)),
    'migrate-recover': command({ uri }, (given) => host.recover(given.uri)),
    'migrate-pause': command({}, () => host.pause()),
    'migrate-set-capabilities': command(
      { capabilities: { type: 'array', of: { type: 'object', members: capability } } },
      ({ capabilities }) => host.setCapabilities(capabilities),
    ),
    'query-migrate-capabilities': command({}, () => host.capabilities, results.capabilities),
    'migrate-set-parameters': command(someParameters, (given) => host.setParameters(given)),
    'query-migrate-parameters': command({}, () => toQmpNames({ ...host.parameters }), results.parameters),
    'query-migrate': command({}, () => host.queryMigrate(), results.migrate),
  };
}

function machineCommands(host: GuestHost): Record<string, QmpCommand> {
  return {
    'query-status': command(
      {},
      () => {
        const status = host.runState;
        return { status, singlestep: false, running: status === 'running' };
      },
      results.status,
    ),
    stop: command({}, () => host.stop()),
    cont: command({}, () => host.cont()),
    quit: command({}, () => host.quit('host-qmp-quit')),
  };
}

/** All of them, by name. */
export function createCommands(host: GuestHost, version: QmpVersion): QmpCommands {
  const commands = new Map<string, QmpCommand>([
    ...Object.entries(outgoingCommands(host)),
    ...Object.entries(migrationCommands(host)),
    ...Object.entries(machineCommands(host)),
  ]);
  const named = () => [...commands.keys()].map((name) => ({ name }));
  // Every session sees to that one itself.
  const all = () => new Map([[NEGOTIATION, command(negotiation, () => {})], ...commands]);
  commands.set(
    'query-version',
    command({}, () => version, results.version),
  );
  commands.set('query-commands', command({}, named, results.commands));
  commands.set(
    'query-qmp-schema',
    command({}, () => schema(all(), events), results.schema),
  );
  return commands;
}
