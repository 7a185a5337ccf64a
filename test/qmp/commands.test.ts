/** The table of commands: what is there, and what each is answered without a migration. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StressGuest } from '#lib/index.js';
import { createCommands } from '#lib/qmp/commands.js';
import { GuestHost } from '#lib/qmp/guest-host.js';
import { QmpSession } from '#lib/qmp/session.js';

const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'a test' };

let guest: StressGuest;
let session: QmpSession;
let host: GuestHost;
beforeEach(async () => {
  guest = StressGuest.empty({ memory: 1024 * 1024 });
  host = new GuestHost({ guest });
  session = new QmpSession(createCommands(host, version));
  await execute('qmp_capabilities');
});
afterEach(async () => {
  await guest.stop();
  guest.close();
});

async function execute(name: string, given: object = {}): Promise<unknown> {
  const value = { execute: name, arguments: given };
  const answer = JSON.parse(await session.answer({ kind: 'value', value, idText: undefined }));
  return answer.error?.desc ?? answer.return;
}

test('those of issue and documentation are there, and named', async () => {
  const named = (await execute('query-commands')) as { name: string }[];
  expect(named.map(({ name }) => name).sort()).toEqual([
    ...['cont', 'migrate', 'migrate-continue', 'migrate-incoming', 'migrate-pause', 'migrate-recover'],
    ...['migrate-set-capabilities', 'migrate-set-parameters', 'migrate-start-postcopy', 'migrate_cancel'],
    ...['query-commands', 'query-migrate', 'query-migrate-capabilities', 'query-migrate-parameters'],
    ...['query-qmp-schema', 'query-status', 'query-version', 'quit', 'stop'],
  ]);
});

test('the guest is started and stopped', async () => {
  expect(await execute('query-status')).toEqual({ status: 'paused', singlestep: false, running: false });
  expect(await execute('cont')).toEqual({});
  expect(guest.running).toBe(true);
  expect(await execute('query-status')).toEqual({ status: 'running', singlestep: false, running: true });
  expect(await execute('stop')).toEqual({});
  expect(guest.running).toBe(false);
});

test('what is set is told', async () => {
  await execute('migrate-set-capabilities', { capabilities: [{ capability: 'postcopy-ram', state: true }] });
  const capabilities = (await execute('query-migrate-capabilities')) as { capability: string; state: boolean }[];
  expect(capabilities.filter(({ state }) => state)).toEqual([{ capability: 'postcopy-ram', state: true }]);
  await execute('migrate-set-parameters', { 'max-bandwidth': 12345 });
  expect(await execute('query-migrate-parameters')).toMatchObject({ 'max-bandwidth': 12345, 'downtime-limit': 300 });
  expect(await execute('query-version')).toEqual(version);
  expect(await execute('query-migrate')).toEqual({});
});

test.each([
  ['migrate', { uri: 'unix:/x', blk: true }, /migrate disks/],
  ['migrate', { uri: 'unix:/x', inc: true }, /migrate disks/],
  ['migrate', { uri: 'unix:/x', resume: true }, /Cannot resume/],
  [
    'migrate-set-capabilities',
    { capabilities: [{ capability: 'xbzrle', state: true }] },
    /does not accept value 'xbzrle'/,
  ],
])('%s %j: %s', async (name, given, what) => {
  expect(await execute(name, given)).toMatch(what);
});

test('quit tells its owner, behind the clients', async () => {
  const told: unknown[] = [];
  host.on('event', ({ event, data }) => told.push(event, data)).on('quit', () => told.push('quit'));
  expect(await execute('quit')).toEqual({});
  expect(told).toEqual(['SHUTDOWN', { guest: false, reason: 'host-qmp-quit' }, 'quit']);
});
