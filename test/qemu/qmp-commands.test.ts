/** Commands that ours and a real QEMU have both: what is refused is refused alike, and answers have the same shape. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StressGuest } from '#lib/index.js';
import { createCommands } from '#lib/qmp/commands.js';
import { GuestHost } from '#lib/qmp/guest-host.js';
import { QmpServer } from '#lib/qmp/server.js';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { RawQmp } from '../../testing/qemu/raw-qmp.ts';

const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'a test' };
/** A guest that runs, and room for one. */
const kinds = ['full', 'empty'] as const;

let folder: string;
const guests: StressGuest[] = [];
const servers: QmpServer[] = [];
const qemus: QemuProcess[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  for (const kind of kinds) {
    const guest = StressGuest.empty({ memory: 1024 * 1024 });
    guests.push(guest);
    if (kind === 'full') await guest.start();
    const host = new GuestHost(kind === 'full' ? { guest } : { room: guest });
    const commands = createCommands(host, version);
    const server = await QmpServer.listen(`unix:${folder}/ours-${kind}`, { commands, version });
    host.on('event', (event) => server.tell(event));
    servers.push(server);
    const incoming = kind === 'full' ? [] : ['-incoming', 'defer'];
    const monitor = ['-qmp', `unix:${folder}/qemu-${kind},server=on,wait=off`];
    qemus.push(await QemuProcess.start(`QEMU, ${kind}`, ['-M', 'none', '-m', '16', ...monitor, ...incoming]));
  }
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.close()));
  await Promise.all(qemus.map((qemu) => qemu.stop()));
  for (const guest of guests) {
    await guest.stop();
    guest.close();
  }
  rmSync(folder, { recursive: true });
});

type Call = readonly [execute: string, given?: object];

/** By call, what is answered. */
async function answers(path: string, calls: readonly Call[]): Promise<unknown[]> {
  using raw = await RawQmp.open(join(folder, path), path);
  await raw.answers('{"execute":"qmp_capabilities"}');
  const all: unknown[] = [];
  for (const [execute, given = {}] of calls) {
    const [answer] = await raw.answers(JSON.stringify({ execute, arguments: given }));
    all.push({ call: `${execute} ${JSON.stringify(given)}`, answer });
  }
  return all;
}

const capabilities = (...changes: unknown[]): Call => ['migrate-set-capabilities', { capabilities: changes }];
const parameters = (given: object): Call => ['migrate-set-parameters', given];
const ram = { capability: 'postcopy-ram', state: true };
const preempt = { capability: 'postcopy-preempt', state: true };

const withGuest: readonly Call[] = [
  ['query-status'],
  ['query-migrate'],
  ['migrate-start-postcopy'],
  ['migrate-pause'],
  ['migrate_cancel'],
  ['migrate-recover'],
  ['migrate-recover', { uri: 'unix:/x' }],
  ['migrate-incoming', { uri: 'unix:/x' }],
  ['migrate-incoming'],
  ['migrate-continue'],
  ['migrate-continue', { state: 'nope' }],
  ['migrate-continue', { state: 'pre-switchover' }],
  ['migrate-continue', { state: 'none' }],
  ['migrate'],
  ['migrate', { uri: 1 }],
  ['migrate', { uri: 'unix:/x', foo: 1 }],
  ['migrate', { uri: 'unix:/x', resume: 1 }],
  ['migrate', { uri: 'unix:/x', resume: true }],
  ['migrate-set-capabilities'],
  ['migrate-set-capabilities', { capabilities: 1 }],
  capabilities(1),
  capabilities({}),
  capabilities({ capability: 'events' }),
  capabilities({ capability: 'nope', state: true }),
  capabilities({ capability: 'events', state: 1 }),
  capabilities({ capability: 'events', state: true, x: 1 }),
  capabilities(),
  capabilities(preempt),
  capabilities(ram, preempt),
  capabilities({ ...ram, state: false }),
  capabilities({ ...preempt, state: false }),
  ['migrate-start-postcopy'],
  parameters({}),
  ...[1.5, '1M', null, 2 ** 64].map((value) => parameters({ 'max-postcopy-bandwidth': value })),
  ...[2_000_001, 2_000_000].map((value) => parameters({ 'downtime-limit': value })),
  ...[0, 100, 256, 1].map((value) => parameters({ 'cpu-throttle-initial': value })),
  ...[0, 100, 99].map((value) => parameters({ 'cpu-throttle-increment': value })),
  ...[0, 101, 100].map((value) => parameters({ 'throttle-trigger-threshold': value })),
  ...[100, 50].map((value) => parameters({ 'max-cpu-throttle': value })),
  parameters({ 'cpu-throttle-initial': 60 }),
  parameters({ nope: 1 }),
  ['stop'],
  ['stop'],
  ['query-status'],
  ['cont'],
  ['cont'],
  ['query-status'],
  ['query-status', { x: 1 }],
];

test('with a guest that runs', async () => {
  expect(await answers('ours-full', withGuest)).toEqual(await answers('qemu-full', withGuest));
});

const waiting: readonly Call[] = [
  ['query-status'],
  ['query-migrate'],
  ['migrate', { uri: 'unix:/x' }],
  ['cont'],
  ['stop'],
  ['query-status'],
  ['migrate-pause'],
  ['migrate-recover', { uri: 'unix:/x' }],
  ['migrate-start-postcopy'],
  capabilities(ram),
];

test('while one is waited for', async () => {
  const calls = (place: string): Call[] => [
    ...waiting,
    ['migrate-incoming', { uri: `unix:${folder}/${place}` }],
    ['migrate-incoming', { uri: `unix:${folder}/${place}` }],
    ['query-migrate'],
  ];
  const named = (all: unknown[]) => JSON.parse(JSON.stringify(all).replaceAll('/theirs', '/ours'));
  expect(await answers('ours-empty', calls('ours'))).toEqual(named(await answers('qemu-empty', calls('theirs'))));
});

test('what is queried has the members that a QEMU’s answer has', async () => {
  const queries: Call[] = [['query-version'], ['query-migrate-parameters'], ['query-migrate-capabilities']];
  type Answer = { answer: { return: object } };
  const [ours, theirs] = (await Promise.all([answers('ours-full', queries), answers('qemu-full', queries)])) as [
    Answer[],
    Answer[],
  ];
  const returned = (all: Answer[], index: number) => all[index].answer.return;
  expect(returned(ours, 0)).toMatchObject({ qemu: { major: 7, minor: 2 } });
  // Where a client set them above they are the same in both.
  expect(returned(theirs, 1)).toMatchObject(returned(ours, 1));
  expect(returned(theirs, 2)).toEqual(expect.arrayContaining(returned(ours, 2) as unknown[]));
});

type Entry = { name: string; 'meta-type': string; members?: { name: string; type: string; default?: null }[] } & Record<
  string,
  unknown
>;

/** What of our schema a QEMU's has not: each type below a command or an event, by its path. */
function missing(ours: Entry[], theirs: Entry[]): string[] {
  const of = (all: Entry[], name: unknown) => all.find((entry) => entry.name === name);
  const breaches: string[] = [];
  const compare = (path: string, our: Entry | undefined, their: Entry | undefined): void => {
    if (our === undefined || our['meta-type'] !== their?.['meta-type'] || our['json-type'] !== their['json-type'])
      return void breaches.push(path);
    for (const value of (our.values as string[]) ?? [])
      if (!(their.values as string[]).includes(value)) breaches.push(`${path} ${value}`);
    for (const key of ['arg-type', 'ret-type', 'element-type'])
      if (our[key] !== undefined) compare(`${path} ${key}`, of(ours, our[key]), of(theirs, their[key]));
    for (const { name, type, ...more } of our.members?.filter((member) => member.type !== undefined) ?? []) {
      const same = their.members?.find((member) => member.name === name);
      if (same === undefined || ('default' in same && !('default' in more))) breaches.push(`${path} ${name}`);
      else compare(`${path} ${name}`, of(ours, type), of(theirs, same.type));
    }
  };
  for (const entry of ours.filter(({ 'meta-type': kind }) => kind === 'command' || kind === 'event')) {
    compare(entry.name, entry, of(theirs, entry.name));
  }
  return breaches;
}

test('the schema is that of a QEMU, as far as it goes', async () => {
  const schemaOf = async (path: string) => {
    const [{ answer }] = (await answers(path, [['query-qmp-schema']])) as [{ answer: { return: Entry[] } }];
    return answer.return;
  };
  // Statuses of newer releases, and what are unions there.
  const statuses = 'postcopy-device|postcopy-recover-setup';
  const more = new RegExp(`(${statuses}|socket-address element-type (path|host|port)|schema ret-type element-type)$`);
  const breaches = missing(await schemaOf('ours-full'), await schemaOf('qemu-full'));
  expect(breaches.filter((breach) => !more.test(breach))).toEqual([]);
});
