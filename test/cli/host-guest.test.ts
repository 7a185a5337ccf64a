/** Which guest a host holds by its options, or has room for. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type HostGuestOptions, hostGuest } from '#lib/cli/host-guest.js';
import type { Guest } from '#lib/index.js';
import { saveCaptured } from '../../testing/saved-machine.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const small: HostGuestOptions = {
  guest: 'stress',
  memory: 1024 * 1024,
  memoryKind: 'anonymous',
  blocks: 1,
  vcpus: 1,
  writesPerSecond: 1000,
  workingSet: 0.25,
};
const silent = { event: () => {}, follow: () => {}, end: () => {} };
const make = (options: Partial<HostGuestOptions>) =>
  hostGuest({ ...small, ...options }, silent, new AbortController().signal);

test('a guest of ours runs; room for one does not', async () => {
  const { title, holds, runs, figures } = await make({});
  expect([title, Object.keys(holds), runs, figures?.().writesHere]).toEqual(['a stress guest', ['guest'], true, 0]);
  const room = await make({ incoming: 'defer' });
  expect([Object.keys(room.holds), room.runs]).toEqual([['room'], false]);
});

test('a machine is held from a directory, or comes to one', async () => {
  await saveCaptured(`${folder}/m`);
  const { holds, runs } = await make({ machine: `${folder}/m` });
  const { guest } = holds as { guest: Guest };
  expect([guest.machine?.configuration.machine, guest.running, runs]).toEqual([expect.any(String), true, false]);
  const coming = await make({ machine: `${folder}/new`, incoming: 'defer' });
  expect(Object.keys(coming.holds)).toEqual(['room']);
  await coming.close?.();
});

test('what can’t be held is said', async () => {
  await expect(make({ machine: true })).rejects.toMatchObject({
    code: 'BAD_ARGUMENT',
    hint: expect.stringContaining('--incoming'),
  });
  await expect(make({ machine: `${folder}/none` })).rejects.toMatchObject({ code: 'MACHINE_INVALID' });
});
