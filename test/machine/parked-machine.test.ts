/** A saved machine as one that counts as running, or not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SavedMachine } from '#lib/index.js';
import { ParkedMachine } from '#lib/machine/parked-machine.js';
import { saveCaptured } from '../../testing/saved-machine.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('it is what is in the directory, and runs as it did there', async () => {
  const { runState } = await saveCaptured(`${folder}/m`);
  using saved = await SavedMachine.open(`${folder}/m`);
  const parked = new ParkedMachine(saved);
  expect([runState, parked.running]).toEqual(['running', true]);
  expect(parked.machine).toBe(saved.machine);
  expect(parked.ramBlocks).toBe(saved.ramBlocks);
  expect(await parked.saveDeviceState()).toEqual(await saved.saveDeviceState());
  await parked.stop();
  expect(parked.running).toBe(false);
  await parked.start();
  expect(parked.running).toBe(true);
  await expect(parked.loadDeviceState()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
});
