/** docs/tutorial.md: its files are written and its commands typed, as a reader would; with QEMU it is test/qemu/. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const main = join(root, 'dist', 'cli', 'main.js');
const doc = readFileSync(join(root, 'docs', 'tutorial.md'), 'utf8');

let folder: string;

/** The files of the tutorial, in a project that has the package. The socket is in its folder. */
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-tutorial-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules', 'postcopy'));
  for (const [, name, text] of doc.matchAll(/^```js\n\/\/ (\S+\.mjs)\n(.*?)^```/gms)) {
    writeFileSync(join(folder, name), text.replaceAll('/tmp/', `${folder}/`));
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const commands = [...doc.matchAll(/^```sh\n(.*?)^```/gms)]
  .flatMap(([, block]) => block.trimEnd().split('\n'))
  .filter((line) => !line.startsWith('npm install'));

const run = (words: readonly string[]) =>
  execa(process.execPath, [main, ...words], { cwd: folder, env: { NO_COLOR: '1' }, reject: false });

describe('what is typed', () => {
  test('has a command in each section that is not about files of one’s own', () => {
    expect(commands.map((line) => line.split(' ')[2])).toEqual(['probe', 'demo', 'forecast', 'demo', 'demo']);
  });

  test.each(commands.map((line) => [line]))('%s', async (line) => {
    const [npx, name, ...words] = line.split(' ');
    expect([npx, name]).toEqual(['npx', 'postcopy']);
    const { exitCode, stdout, stderr } = await run(words);
    // The precopy of the forecast never ends.
    expect({ exitCode, stderr }).toMatchObject({ exitCode: words[0] === 'forecast' ? 1 : 0 });
    if (words[0] === 'demo') expect(stdout).toContain('every page holds its last write: nothing lost');
    if (line.includes('--cut-every')) expect(stdout).toMatch(/recovered +│ [1-9]\d* time/);
    const [, trace] = /--trace (\S+)/.exec(line) ?? [];
    if (trace !== undefined) JSON.parse(readFileSync(join(folder, trace), 'utf8'));
  });
});

/** Starts the destination; resolved when it listens, with its output once it has ended. */
async function startDestination() {
  const destination = execa(process.execPath, ['destination.mjs'], { cwd: folder });
  await new Promise<void>((resolve) => destination.stdout.once('data', () => resolve()));
  return { ended: async () => (await destination).stdout };
}

test('the guest of one’s own moves, with what it has counted', async () => {
  const destination = await startDestination();
  const source = await execa(process.execPath, ['source.mjs'], { cwd: folder });
  expect(source.stdout).toMatch(/source: completed\nstood still for [\d.]+ ms$/);
  expect(await destination.ended()).toMatch(/^listening\n[\s\S]*counted 4 times, in 4 calls; \d+ page faults$/);
});

test('through the relay, its stream is recorded and read', async () => {
  const destination = await startDestination();
  const [, relayLine = ''] = /^\$ npx postcopy (relay .*)$/m.exec(doc) ?? [];
  const [, inspectLine = ''] = /^\$ npx postcopy (inspect run1.*)$/m.exec(doc) ?? [];
  const here = (line: string) => line.replaceAll('/tmp/', `${folder}/`).split(' ');
  const relay = execa(process.execPath, [main, ...here(relayLine)], { cwd: folder });
  await new Promise<void>((resolve) => relay.stderr.once('data', () => resolve()));
  const guest = readFileSync(join(folder, 'guest.mjs'), 'utf8').replace('/m.sock', '/in.sock');
  writeFileSync(join(folder, 'guest.mjs'), guest);
  await execa(process.execPath, ['source.mjs'], { cwd: folder });
  expect(await destination.ended()).toContain('counted 4 times');
  await relay;
  const { exitCode, stdout } = await run(here(inspectLine));
  expect(exitCode).toBe(0);
  expect(stdout).toContain('counts');
});
