/** One scenario over QMP, unchanged, with two hosts of ours, with two real QEMUs, and from a QEMU to a host of ours. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCommands } from '#lib/qmp/commands.js';
import { GuestHost } from '#lib/qmp/guest-host.js';
import { QmpServer } from '#lib/qmp/server.js';
import { MachineKeeper } from '../../testing/machine-keeper.ts';
import { PostcopyHost } from '../../testing/postcopy-host.ts';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { postcopyOverQmp, type ScenarioOutcome } from '../../testing/qmp-scenario.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const uris = () => [`unix:${folder}/first`, `unix:${folder}/second`] as const;
const qemu = (name: string, ...args: string[]) => QemuProcess.start(name, ['-M', 'none', '-m', '64', ...args]);

function check({ migrations: [source, destination], statuses }: ScenarioOutcome): void {
  expect(source).toMatchObject({ status: 'completed', ram: { remaining: 0 } });
  expect(source.downtime).toBeTypeOf('number');
  expect(destination).toMatchObject({ status: 'completed' });
  expect(statuses).toEqual(['postmigrate', 'running']);
}

test('two hosts of ours', async () => {
  const guest = ['--guest', 'stress', '--memory', '16M', '--writes-per-second', '1000'];
  await using destination = await PostcopyHost.start(`${folder}/d`, ...guest, '--incoming', 'defer');
  await using source = await PostcopyHost.start(`${folder}/s`, ...guest);
  check(await postcopyOverQmp(source.qmp, destination.qmp, ...uris()));
  expect(await Promise.all([source.ended, destination.ended])).toEqual([0, 0]);
});

test('two QEMUs', async () => {
  await using destination = await qemu('destination', '-incoming', 'defer');
  await using source = await qemu('source');
  check(await postcopyOverQmp(source.qmp, destination.qmp, ...uris()));
  expect(await Promise.all([source.ended, destination.ended])).toEqual([0, 0]);
});

test('from a QEMU to a host of ours, which keeps its machine', async () => {
  using keeper = new MachineKeeper();
  const host = new GuestHost({ room: keeper });
  const version = { qemu: { major: 7, minor: 2, micro: 0 }, package: 'a test' };
  const server = await QmpServer.listen(`unix:${folder}/d`, { commands: createCommands(host, version), version });
  host.on('event', (event) => server.tell(event));
  await using source = await qemu('source');
  check(await postcopyOverQmp(source.qmp, await PostcopyHost.client(`${folder}/d`), ...uris()));
  await server.close();
  await host.close();
  expect(keeper.kept.running).toBe(true);
});
