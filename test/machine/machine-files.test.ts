/** The files of a saved machine, opened: what is expected of a machine like it, and what is no file of one. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readMachineLike, readManifest, readWhole } from '#lib/machine/machine-files.js';
import { capturedMachine, saveCaptured } from '../../testing/saved-machine.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);

test('a machine like it has its name, its blocks and its devices', async () => {
  const captured = capturedMachine();
  await saveCaptured(path('saved'), captured);
  expect(await readMachineLike(path('saved'))).toEqual({
    machine: captured.machine,
    blocks: captured.blocks.map(({ idstr, usedLength }) => ({ idstr, usedLength })),
    devices: captured.devices.map(({ idstr, instanceId, versionId }) => ({ idstr, instanceId, versionId })),
  });
});

test('a directory without a manifest is told by its path', async () => {
  await expect(readManifest(folder)).rejects.toMatchObject({
    code: 'MACHINE_INVALID',
    message: expect.stringMatching(/manifest\.json: is missing$/),
  });
});

test('a file is read up to its limit, and nothing that is no plain file at all', async () => {
  writeFileSync(path('file'), 'abcd');
  expect((await readWhole(path('file'), 4)).toString()).toBe('abcd');
  symlinkSync(path('file'), path('link'));
  mkdirSync(path('directory'));
  await execa('mkfifo', [path('fifo')]);
  const refused = (name: string, bytesMax: number) =>
    readWhole(path(name), bytesMax).then(
      () => 'read',
      (error: Error) => error.message.replace(`${folder}/`, ''),
    );
  expect(await refused('file', 3)).toBe('file: has 4 bytes, more than 3');
  expect(await refused('link', 4)).toBe('link: is a symbolic link');
  expect(await refused('directory', 4)).toBe('directory: is no plain file');
  expect(await refused('fifo', 4)).toBe('fifo: is no plain file');
});
