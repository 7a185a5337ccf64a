/** The command itself, and that it loads no more than what it is asked for. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { execa } from 'execa';
import { expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

function postcopy(...args: string[]) {
  return execa(process.execPath, [main, ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });
}

test('no command: help, exit 2', async () => {
  const { exitCode } = await postcopy();
  expect(exitCode).toBe(2);
});

test('--version and --help succeed', async () => {
  expect((await postcopy('--version')).exitCode).toBe(0);
  expect((await postcopy('--help')).stdout).toContain('probe');
});

test.each([
  [['help', 'demo'], '--precopy-passes'],
  [['receive', '--help'], '--on-lost'],
])('%j tells of the options', async (args, says) => {
  const { exitCode, stdout } = await postcopy(...args);
  expect(exitCode).toBe(0);
  expect(stdout).toContain(says);
});

test.each([
  [['frobnicate'], "postcopy: unknown command 'frobnicate'\n(see "],
  [['recieve'], 'Did you mean receive?'],
  [['help', 'frobnicate'], "postcopy: unknown command 'frobnicate'\n(see "],
  [['demo', '--memroy', '1G'], 'Did you mean --memory?'],
  [['demo', '--memory', 'much'], '"much" is no size: write it like 256M or 1G'],
  [['demo', '--guest', 'xen'], 'Allowed choices are auto, kvm, stress.'],
  [['send', 'unix:/x'], 'required option \'--from <dir>\' not specified\n(see "postcopy send --help")'],
  [['inspect'], "missing required argument 'file'"],
])('%j is a usage error that says what to write', async (args, says) => {
  const { exitCode, stderr } = await postcopy(...args);
  expect(exitCode).toBe(2);
  expect(stderr).toContain(says);
});

test('no command waits for the libraries of others to load', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  try {
    // What Node writes there names every module that it has loaded.
    await execa(process.execPath, [main, '--version'], { env: { NODE_V8_COVERAGE: folder } });
    const [file] = readdirSync(folder);
    const { result } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as { result: { url: string }[] };
    const loaded = result.map(({ url }) => url);
    expect(loaded).toContain(pathToFileURL(main).href);
    const heavy = /\/(zod|log-update|cli-table3|pino|prom-client|@opentelemetry\/[a-z-]+)\/|-command\.js$/;
    expect(loaded.filter((url) => heavy.test(url))).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
