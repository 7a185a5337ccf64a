/** The examples do what they say, as a reader would run them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';

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

test('a SQLite database that moves while it is written', async () => {
  const { stdout } = await execa(process.execPath, [example('wasm-sqlite')]);
  const [, rows, faults] = /(\d+) rows[\s\S]* (\d+) page faults/.exec(stdout) ?? [];
  expect([Number(rows), Number(faults) > 0]).toEqual([20_000, true]);
  expect(stdout).toMatch(/destination: \d+ rows, 0 lost, integrity ok/);
});
