/** `postcopy send` as a user runs it: its report, and errors of one sentence. receive-command.test.ts has its way. */
import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MachineSaver } from '#lib/machine/machine-saver.js';
import { listen } from '#lib/migration/listen.js';
import { saveCaptured } from '../../testing/saved-machine.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

let folder: string;
let uri: string;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  uri = `unix:${folder}/m.sock`;
  await saveCaptured(join(folder, 'one'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function send(...args: string[]) {
  return execa(process.execPath, [main, 'send', uri, ...args], {
    reject: false,
    env: { NO_COLOR: '1' },
    timeout: 60_000,
  });
}

const from = () => ['--from', join(folder, 'one')];

test.each(['precopy', 'postcopy'])('reports how it went: %s', async (mode) => {
  const saver = await MachineSaver.create();
  const incoming = await listen(uri, { guest: saver, capabilities: { postcopyRam: true } });
  const { exitCode, stdout } = await send(...from(), '--json', ...(mode === 'postcopy' ? ['--postcopy'] : []));
  await incoming.finished;
  const { blocks } = await saver.finish({ uri, postcopy: mode === 'postcopy' });
  await saver.close();
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
    status: 'completed',
    postcopy: mode === 'postcopy',
    runState: 'running',
    ram: { total: blocks.reduce((sum, { length }) => sum + length, 0), remaining: 0 },
    downtimeMs: expect.any(Number),
    totalTimeMs: expect.any(Number),
  });
});

test('nobody listens', async () => {
  const { exitCode, stderr } = await send(...from());
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^postcopy: .*m\.sock.*$/m);
});

test('a directory that holds no machine, or a broken one', async () => {
  const none = await send('--from', folder);
  expect(none.exitCode).toBe(1);
  expect(none.stderr).toMatch(/^postcopy: .*manifest\.json: is missing: /m);
  truncateSync(join(folder, 'one', 'device-state.bin'), 3);
  expect((await send(...from())).stderr).toMatch(/^postcopy: .*device-state\.bin: has 3 bytes/m);
});

test('a command line without --from', async () => {
  expect((await send()).exitCode).toBe(2);
});
