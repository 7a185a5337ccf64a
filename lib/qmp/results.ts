/** What queries give, and events tell, as tables: of QEMU's what there is here, under its names. Pure data. */
import { capabilityNames } from './capabilities.js';
import { someParameters } from './parameters.js';
import { type Members, nothing, optional, type QmpType } from './types.js';

const string = { type: 'string' } as const;
const boolean = { type: 'boolean' } as const;
const integer = { type: 'integer', bits: 64 } as const;
const number = { type: 'number' } as const;

const object = (members: Members) => ({ type: 'object', members }) as const;
const array = (of: QmpType) => ({ type: 'array', of }) as const;
const oneOf = (...values: string[]) => ({ type: 'enum', values }) as const;
const integers = (...names: string[]): Members => Object.fromEntries(names.map((name) => [name, integer]));

/** QMP's MigrationStatus, in QEMU 7.2, and what ours has besides. */
export const statuses = [
  ...['none', 'setup', 'cancelling', 'cancelled', 'active', 'postcopy-active', 'postcopy-paused', 'postcopy-recover'],
  ...['completed', 'failed', 'colo', 'pre-switchover', 'device', 'wait-unplug', 'postcopy-device'],
  'postcopy-recover-setup',
];
const status = oneOf(...statuses);

const runState = oneOf('running', 'paused', 'finish-migrate', 'postmigrate', 'inmigrate');

const migrationStats = object({
  ...integers('transferred', 'remaining', 'total', 'duplicate', 'skipped', 'normal', 'normal-bytes'),
  ...integers('dirty-pages-rate', 'dirty-sync-count', 'postcopy-requests', 'page-size', 'multifd-bytes'),
  ...integers('pages-per-second', 'precopy-bytes', 'downtime-bytes', 'postcopy-bytes', 'dirty-sync-missed-zero-copy'),
  mbps: number,
});

/** Of `unix` the path, of `inet` the rest. */
const socketAddress = object({
  type: oneOf('inet', 'unix'),
  ...optional({ path: string, host: string, port: string }),
});

export const results = {
  status: object({ status: runState, singlestep: boolean, running: boolean }),
  version: object({ qemu: object(integers('major', 'minor', 'micro')), package: string }),
  commands: array(object({ name: string })),
  capabilities: array(object({ capability: oneOf(...capabilityNames), state: boolean })),
  parameters: object(someParameters),
  migrate: object(
    optional({
      ...{ status, ram: migrationStats, 'error-desc': string, 'socket-address': array(socketAddress) },
      ...integers('total-time', 'setup-time', 'downtime', 'expected-downtime', 'cpu-throttle-percentage'),
      ...{ 'postcopy-blocktime': integer, 'postcopy-vcpu-blocktime': array(integer) },
    }),
  ),
  /** Objects that each kind of entry has its own members of. */
  schema: array({ type: 'any' }),
} as const;

export const events: Readonly<Record<string, QmpType>> = {
  MIGRATION: object({ status }),
  MIGRATION_PASS: object({ pass: integer }),
  STOP: nothing,
  RESUME: nothing,
  SHUTDOWN: object({ guest: boolean, reason: oneOf('host-qmp-quit', 'host-signal') }),
};
