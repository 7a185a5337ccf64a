/** One scenario over QMP, unchanged, with two hosts of ours, with two real QEMUs, and with one of each, both ways. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
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

test('from a QEMU to a host of ours, which keeps the machine, and from there to another QEMU', async () => {
  const kept = `${folder}/machine`;
  {
    await using destination = await PostcopyHost.start(`${folder}/d`, '--machine', kept, '--incoming', 'defer');
    await using source = await qemu('source');
    check(await postcopyOverQmp(source.qmp, destination.qmp, ...uris()));
    expect(await Promise.all([source.ended, destination.ended])).toEqual([0, 0]);
    expect(destination.said.all).toContain(`the machine (none) is saved in ${kept}`);
  }
  await using destination = await qemu('destination', '-incoming', 'defer');
  await using source = await PostcopyHost.start(`${folder}/s`, '--machine', kept);
  check(await postcopyOverQmp(source.qmp, destination.qmp, ...uris()));
  expect(await Promise.all([source.ended, destination.ended])).toEqual([0, 0]);
});

test('from a QEMU through a host of ours to another', async () => {
  await using first = await qemu('first');
  await using host = await PostcopyHost.start(`${folder}/h`, '--machine', '--incoming', 'defer');
  await using last = await qemu('last', '-incoming', `unix:${folder}/second`);
  const completed = ({ status }: Readonly<Record<string, unknown>>) => status === 'completed';
  for (const { qmp } of [first, host]) {
    await qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
  }
  await host.qmp.execute('migrate-incoming', { uri: `unix:${folder}/first` });
  await first.qmp.execute('migrate', { uri: `unix:${folder}/first` });
  await host.qmp.event('MIGRATION', completed);
  expect(await host.qmp.execute('query-status')).toMatchObject({ status: 'running' });
  await expect(host.qmp.execute('stop')).rejects.toThrow(/no vCPUs here/);
  await host.qmp.execute('migrate', { uri: `unix:${folder}/second` });
  await host.qmp.event('STOP');
  await last.qmp.event('RESUME');
  expect(await last.qmp.execute('query-status')).toMatchObject({ status: 'running' });
});
