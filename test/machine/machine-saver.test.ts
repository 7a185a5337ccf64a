/** The receiver of any machine: what it tells of it, what it keeps, and what is left where it comes to nothing. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { MachineSaver } from '#lib/machine/machine-saver.js';
import { parseManifest } from '#lib/machine/manifest.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { capturedMachine, entriesOf, fillBlocks, machineOf, saveCaptured } from '../../testing/saved-machine.ts';

const captured = capturedMachine();
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const peer = { uri: 'unix:/run/m.sock', postcopy: false };

let folder: string;
let directory: string;
let leaks: () => Record<string, number>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  directory = join(folder, 'saved');
  leaks = handleLeaks();
});
afterEach(() => {
  expect(leaks()).toEqual({});
  rmSync(folder, { recursive: true });
});

const blocks = captured.blocks.map(({ idstr, usedLength: length }) => ({
  idstr,
  length,
  sha256: sha256(captured.memory.get(idstr) as Uint8Array),
}));

test('tells what came, and keeps it in files that the manifest lists', async () => {
  const info = await saveCaptured(directory, captured);
  const state = captured.allDevices();
  expect(info).toMatchObject({
    ...{ machine: captured.machine, blocks, directory },
    ...{ deviceStateBytes: state.length, devices: captured.devices.length, runState: 'running' },
  });
  const manifest = parseManifest(readFileSync(join(directory, 'manifest.json'), 'utf8'), 'manifest.json');
  const files = [...manifest.blocks.map(({ file }) => file), 'device-state.bin', 'manifest.json', 'vmdescription.json'];
  expect(readdirSync(directory).sort()).toEqual(files.sort());
  expect(manifest.blocks.map(({ idstr, length, sha256: digest }) => ({ idstr, length, sha256: digest }))).toEqual(
    blocks,
  );
  for (const { file, sha256: digest } of manifest.blocks)
    expect(sha256(readFileSync(join(directory, file)))).toBe(digest);
  expect(readFileSync(join(directory, 'device-state.bin')).equals(state)).toBe(true);
  expect(readFileSync(join(directory, 'vmdescription.json'), 'utf8')).toBe(captured.vmDescription);
  expect(manifest).toMatchObject({ peer, configuration: { machine: captured.machine }, runState: 'running' });
});

test('without a directory it only reads', async () => {
  const saver = await MachineSaver.create();
  const guest = await saver.receive(machineOf(captured), entriesOf(captured));
  fillBlocks(guest.ramBlocks, captured);
  await guest.loadDeviceState(captured.allDevices());
  expect(await saver.finish(peer)).toMatchObject({ blocks, directory: undefined });
  expect(saver.progress.done).toBe(saver.progress.total);
  await saver.close();
});

test('behind a precopy all of RAM is on disk before the source is answered', async () => {
  const saver = await MachineSaver.create({ directory });
  const guest = await saver.receive(machineOf(captured), entriesOf(captured));
  fillBlocks(guest.ramBlocks, captured);
  await guest.loadDeviceState(captured.allDevices(), captured.vmDescription);
  expect(saver.progress.done).toBe(saver.progress.total);
  await saver.close();
});

test('keeps the half that came, in place of the whole', async () => {
  const saver = await MachineSaver.create({ directory });
  const guest = await saver.receive(machineOf(captured), entriesOf(captured));
  fillBlocks(guest.ramBlocks, captured);
  await guest.loadDeviceState(captured.allDevices());
  const received = guest.ramBlocks.map(({ size }) => new PageBitmap(size / 4096));
  received[0].setRange(0, 10);
  expect(await saver.keepHalf(received, { ...peer, postcopy: true })).toBe(directory);
  await saver.close();
  const manifest = parseManifest(readFileSync(join(directory, 'manifest.json'), 'utf8'), 'manifest.json');
  expect(manifest).toMatchObject({ partial: true, peer: { postcopy: true }, runState: 'running' });
  const [first, second] = manifest.blocks.map(({ file }) => readFileSync(join(directory, file)));
  const bytes = captured.memory.get(captured.blocks[0].idstr) as Uint8Array;
  expect(first.subarray(0, 40960).equals(bytes.subarray(0, 40960))).toBe(true);
  expect(first.subarray(40960).some((byte) => byte !== 0)).toBe(false);
  expect(second.some((byte) => byte !== 0)).toBe(false);
});

test('there is no half to keep where nothing came, or nothing is to be kept', async () => {
  for (const options of [{ directory }, {}]) {
    const saver = await MachineSaver.create(options);
    await expect(saver.keepHalf([], peer)).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    await saver.close();
  }
});

describe('leaves nothing', () => {
  test('where it is closed before a machine has come', async () => {
    await (await MachineSaver.create({ directory })).close();
    expect(existsSync(directory)).toBe(false);
  });

  test('where it is closed before the devices have come, or before it is finished', async () => {
    for (const isLoaded of [false, true]) {
      const saver = await MachineSaver.create({ directory });
      const guest = await saver.receive(machineOf(captured), entriesOf(captured));
      if (isLoaded) await guest.loadDeviceState(captured.allDevices());
      await saver.close();
      await saver.close();
      expect(existsSync(directory)).toBe(false);
    }
  });

  test('where the device state is none: the migration fails, and the source keeps its guest', async () => {
    const saver = await MachineSaver.create({ directory });
    const guest = await saver.receive(machineOf(captured), entriesOf(captured));
    await expect(guest.loadDeviceState(new Uint8Array(8))).rejects.toMatchObject({ name: 'MigrationError' });
    await expect(saver.finish(peer)).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    await saver.close();
    expect(existsSync(directory)).toBe(false);
  });

  test('where the directory goes away meanwhile', async () => {
    const saver = await MachineSaver.create({ directory });
    const guest = await saver.receive(machineOf(captured), entriesOf(captured));
    rmSync(directory, { recursive: true });
    await expect(guest.loadDeviceState(captured.allDevices(), captured.vmDescription)).rejects.toMatchObject({
      code: 'SAVE_FAILED',
    });
    await expect(saver.finish(peer)).rejects.toMatchObject({ code: 'SAVE_FAILED' });
    await saver.close().catch((error) => expect(error).toMatchObject({ code: 'SAVE_FAILED' }));
  });
});

test('takes one machine only', async () => {
  const saver = await MachineSaver.create();
  await saver.receive(machineOf(captured), entriesOf(captured));
  await expect(saver.receive(machineOf(captured), entriesOf(captured))).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
  await saver.close();
});

test('refuses a machine that the disk has no room for, or the host no memory', async () => {
  const saver = await MachineSaver.create({ directory });
  const entries = [{ index: 0, idstr: 'pc.ram', usedLength: 2 ** 52 }];
  await expect(saver.receive(machineOf(captured), entries)).rejects.toMatchObject({ code: 'SAVE_FAILED' });
  await saver.close();
  const reader = await MachineSaver.create();
  await expect(reader.receive(machineOf(captured), entries)).rejects.toMatchObject({ code: 'GUEST_UNAVAILABLE' });
  await reader.close();
});
