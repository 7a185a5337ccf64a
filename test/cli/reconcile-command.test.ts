/** `postcopy reconcile` as a user runs it: what it makes, its report, and errors of one sentence. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SavedMachine } from '#lib/machine/saved-machine.js';
import { SmallMachine, saveHalves } from '../../testing/half-machines.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const reconcile = (...args: string[]) =>
  execa(process.execPath, [main, 'reconcile', ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });

test('makes a machine that can be sent, and reports it', async () => {
  const all = Array.from(SmallMachine.image(), (_, at) => at).slice(0, 339);
  const { destination, source } = await saveHalves(folder, all.slice(0, 200), all.slice(150));
  const out = join(folder, 'whole');
  const { exitCode, stdout } = await reconcile(destination, source, '--out', out, '--json');
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ saved: out, pages: { fromDestination: 200, fromSource: 139 } });
  using machine = await SavedMachine.open(out);
  expect(Buffer.concat(machine.ramBlocks.map((block) => block.bytes())).equals(SmallMachine.image())).toBe(true);
});

test('pages in neither half: one sentence, exit code 1, nothing made', async () => {
  const { destination, source } = await saveHalves(folder, [0], [2]);
  const { exitCode, stderr } = await reconcile(destination, source, '--out', join(folder, 'whole'));
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^postcopy: pages that are in neither half: 299 of pc\.ram \(1, 3-300\); 37 of vga\.vram/m);
  expect(readdirSync(folder).sort()).toEqual(['destination', 'source']);
});

test('a command line without --out', async () => {
  expect((await reconcile('a', 'b')).exitCode).toBe(2);
});
