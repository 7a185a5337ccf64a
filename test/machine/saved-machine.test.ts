/** A saved machine read back: all it was, and nothing where a file is not as it was saved. */
import {
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SavedMachine } from '#lib/machine/saved-machine.js';
import { native } from '#lib/native.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { capturedMachine, machineOf, saveCaptured } from '../../testing/saved-machine.ts';

const captured = capturedMachine();
let folder: string;
let directory: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  directory = join(folder, 'saved');
  await saveCaptured(directory, captured);
});
afterEach(() => rmSync(folder, { recursive: true }));

const path = (file: string) => join(directory, file);
const manifest = () => JSON.parse(readFileSync(path('manifest.json'), 'utf8'));
const largest = (): string =>
  manifest().blocks.reduce((a: { length: number }, b: { length: number }) => (b.length > a.length ? b : a)).file;

test('is the machine that was saved: RAM, devices, description', async () => {
  const leaks = handleLeaks();
  {
    using machine = await SavedMachine.open(directory);
    expect(machine.machine).toEqual({ ...machineOf(captured), vmDescription: captured.vmDescription });
    expect(machine.running).toBe(false);
    expect(Buffer.from(await machine.saveDeviceState()).equals(captured.allDevices())).toBe(true);
    expect(machine.ramBlocks.map(({ idstr }) => idstr)).toEqual(captured.blocks.map(({ idstr }) => idstr));
    for (const block of machine.ramBlocks) {
      expect(Buffer.from(block.bytes()).equals(captured.memory.get(block.idstr) as Uint8Array)).toBe(true);
    }
    machine.close();
  }
  expect(leaks()).toEqual({});
});

test('zero pages take no memory', async () => {
  using machine = await SavedMachine.open(directory);
  const { constants, countPages } = native();
  for (const { handle, size, idstr } of machine.ramBlocks) {
    const memory = captured.memory.get(idstr) as Uint8Array;
    let pages = 0;
    for (let at = 0; at < size; at += 4096) if (memory.subarray(at, at + 4096).some((byte) => byte !== 0)) pages += 1;
    expect(countPages(handle, 0, size, constants.PAGE_IS_PRESENT)).toBe(pages);
  }
});

test('progress runs to the end, and an abort ends it with nothing left', async () => {
  const leaks = handleLeaks();
  const seen: number[] = [];
  const total = captured.blocks.reduce((sum, { usedLength }) => sum + usedLength, 0);
  (await SavedMachine.open(directory, { onProgress: (done) => seen.push(done) })).close();
  expect(seen.at(-1)).toBe(total);
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  await expect(SavedMachine.open(directory, { onProgress, signal: controller.signal })).rejects.toMatchObject({
    code: 'CANCELLED',
  });
  expect(leaks()).toEqual({});
});

describe('is refused, with the file and the reason, and nothing is left', () => {
  const flip = (file: string) => {
    const bytes = readFileSync(path(file));
    bytes[bytes.length >> 1] ^= 1;
    writeFileSync(path(file), bytes);
  };
  const link = (file: string, target: string) => {
    unlinkSync(path(file));
    symlinkSync(target, path(file));
  };
  const change = (changed: (manifest: Record<string, unknown>) => void) => {
    const value = manifest();
    changed(value);
    writeFileSync(path('manifest.json'), JSON.stringify(value));
  };

  test.each<[string, () => unknown, RegExp]>([
    ['no manifest', () => unlinkSync(path('manifest.json')), /manifest\.json: is missing/],
    ['a block file that is missing', () => unlinkSync(path(largest())), /\.ram: is missing/],
    ['one that is short', () => truncateSync(path(largest()), 8192), /\.ram: has 8192 bytes, and the manifest says/],
    ['one that has changed', () => flip(largest()), /\.ram: has the SHA-256/],
    ['a link', () => link(largest(), '/dev/zero'), /is a symbolic link/],
    ['device state that has changed', () => flip('device-state.bin'), /device-state\.bin: has the SHA-256/],
    ['device state that is short', () => truncateSync(path('device-state.bin'), 5), /device-state\.bin: has 5 bytes/],
    ['no description', () => unlinkSync(path('vmdescription.json')), /vmdescription\.json: is missing/],
    [
      'a list of devices that is not that of the state',
      () => change(({ deviceState }) => (deviceState as { devices: unknown[] }).devices.pop()),
      /device-state\.bin: does not hold the devices that the manifest lists/,
    ],
  ])('%s', async (_what, spoil, message) => {
    const leaks = handleLeaks();
    spoil();
    const error = await SavedMachine.open(directory).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'MACHINE_INVALID', message: expect.stringMatching(message) });
    expect(leaks()).toEqual({});
  });

  test('a FIFO in place of a file, which is not waited for', async () => {
    unlinkSync(path(largest()));
    await execa('mkfifo', [path(largest())]);
    await expect(SavedMachine.open(directory)).rejects.toThrow(/is no plain file/);
  });

  test('but without verify, content is taken as it is', async () => {
    flip(largest());
    (await SavedMachine.open(directory, { verify: false })).close();
  });
});

test('the files are sparse', () => {
  const { blocks, size } = statSync(path(largest()));
  expect(blocks * 512).toBeLessThan(size);
});
