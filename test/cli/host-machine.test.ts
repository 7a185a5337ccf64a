/** A host's room for a machine: one comes and is kept, also where one before it did not arrive; half of one is kept. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HostMachine } from '#lib/cli/host-machine.js';
import { listen, migrate, SavedMachine } from '#lib/index.js';
import { saveCaptured } from '../../testing/saved-machine.ts';

let folder: string;
let told: string[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  told = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

const tell = (text: string) => void told.push(text);

test('what comes is kept, and what did not come first is forgotten', async () => {
  const { blocks } = await saveCaptured(`${folder}/from`);
  using saved = await SavedMachine.open(`${folder}/from`);
  const room = await HostMachine.create(`${folder}/to`, tell);
  const receive = async (maxBandwidth: number, signal?: AbortSignal) => {
    const incoming = await listen(`unix:${folder}/m`, { guest: room });
    room.attend(incoming);
    const options = { parameters: { maxBandwidth }, ...(signal === undefined ? {} : { signal }) };
    const outgoing = await migrate(saved, incoming.uri, options);
    return { incoming, outgoing };
  };
  const stop = new AbortController();
  const cancelled = await receive(100_000, stop.signal);
  cancelled.incoming.on('status', () => stop.abort());
  if (cancelled.incoming.status === 'active') stop.abort();
  await expect(cancelled.outgoing.finished).rejects.toMatchObject({ code: 'CANCELLED' });
  await expect(cancelled.incoming.finished).rejects.toThrow();

  const whole = await receive(0);
  await Promise.all([whole.outgoing.finished, whole.incoming.finished]);
  await room.close();
  expect(told).toEqual([expect.stringMatching(/^the machine \(.+\) is saved in .+to$/)]);
  using kept = await SavedMachine.open(`${folder}/to`);
  expect(kept.manifest.blocks.map(({ sha256 }) => sha256)).toEqual(blocks.map(({ sha256 }) => sha256));
});

test('nothing came: nothing stays', async () => {
  const room = await HostMachine.create(`${folder}/to`, tell);
  expect(existsSync(`${folder}/to`)).toBe(true);
  await room.close();
  expect(readdirSync(folder)).toEqual([]);
});

test('a directory that is in use is refused before anything comes', async () => {
  await saveCaptured(`${folder}/to`);
  await expect(HostMachine.create(`${folder}/to`, tell)).rejects.toMatchObject({ code: 'SAVE_FAILED' });
});
