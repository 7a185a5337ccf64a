/** The examples do what they say, as a reader would run them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { type Guest, migrate } from '#lib/index.js';
import { type GuestKit, guestContract } from '#lib/testing/index.js';
// @ts-expect-error: an example in plain JavaScript
import { EventRing } from '../examples/own-guest.mjs';

interface OwnGuest extends Guest {
  count(request?: unknown): Promise<bigint>;
  verify(): void;
  close(): Promise<void>;
}
const makeOwnGuest = (): OwnGuest => new EventRing();

const example = (name: string) => fileURLToPath(new URL(`../examples/${name}.mjs`, import.meta.url));

test('source and destination', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  const uri = `unix:${join(folder, 'm.sock')}`;
  try {
    const destination = execa(process.execPath, [example('destination'), uri]);
    await new Promise<void>((resolve) => destination.stdout.once('data', () => resolve()));
    const source = await execa(process.execPath, [example('source'), uri]);
    expect(source.stdout).toMatch(/source: postcopy-active[\s\S]*source: completed[\s\S]*downtime/);
    expect((await destination).stdout).toMatch(/16384 pages checked, 0 writes lost/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('a guest of your own', () => {
  const kit: GuestKit<OwnGuest> = {
    create: async () => makeOwnGuest(),
    empty: async () => makeOwnGuest(),
    verify: async (guest) => guest.verify(),
    progress: async (guest) => {
      const before = await guest.count();
      while ((await guest.count()) < before + 64n);
    },
    close: (guest) => guest.close(),
    foreignStates: (state) => {
      const older = state.slice();
      older[4] = 0;
      return [older];
    },
  };

  test.each([...guestContract(kit)])('$name', ({ run }) => run());

  test('moves', async () => {
    const { stdout } = await execa(process.execPath, [example('move-own-guest')]);
    expect(stdout).toMatch(/stopped for [\d.]+ ms, [1-9]\d* page faults\n\d{6,} events, none of them lost/);
  });

  test('says so when its worker ends', async () => {
    const guest = makeOwnGuest();
    await expect(guest.count(null)).rejects.toThrow(TypeError); // what its worker can't read
    expect(await guest.died).toBeInstanceOf(TypeError);
    await expect(migrate(guest, 'tcp:127.0.0.1:1')).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await guest.close();
  });
});

test('a SQLite database that moves while it is written', async () => {
  const { stdout } = await execa(process.execPath, [example('wasm-sqlite')]);
  const [, rows, faults] = /(\d+) rows[\s\S]* (\d+) page faults/.exec(stdout) ?? [];
  expect([Number(rows), Number(faults) > 0]).toEqual([20_000, true]);
  expect(stdout).toMatch(/destination: \d+ rows, 0 lost, integrity ok/);
});
