/** `postcopy receive` as a user runs it, with `postcopy send` as the source: output, exit codes, and what is left. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRelay } from '#lib/index.js';
import { CapturedMachine } from '../../testing/qemu/captured-machine.ts';
import { saveCaptured } from '../../testing/saved-machine.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

let folder: string;
let uri: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  uri = `unix:${folder}/m.sock`;
});
afterEach(() => rmSync(folder, { recursive: true }));

const path = (name: string) => join(folder, name);

function run(...args: string[]) {
  return execa(process.execPath, [main, ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 });
}

/** `postcopy receive`, and a way to wait until it says something. */
function receive(...args: string[]) {
  const running = run('receive', uri, ...args);
  const lines = createInterface({ input: running.stderr })[Symbol.asyncIterator]();
  const says = async (what: RegExp) => {
    for (;;) {
      const { done, value } = await lines.next();
      if (done) throw new Error(`receive ended without ${what}`);
      if (what.test(value)) return;
    }
  };
  return { running, says };
}

const files = (directory: string) =>
  new Map(
    readdirSync(path(directory))
      .filter((file) => file !== 'manifest.json')
      .map((file) => [file, readFileSync(path(`${directory}/${file}`)).toString('base64')]),
  );

describe('a machine that is sent on', { timeout: 60_000 }, () => {
  test.each(['precopy', 'postcopy'])('by %s is kept as it was', async (mode) => {
    const { blocks } = await saveCaptured(path('one'));
    const { running, says } = receive('--save', path('two'), '--json', '--blocktime');
    await says(/^listening at unix:/);
    const sent = await run('send', uri, '--from', path('one'), ...(mode === 'postcopy' ? ['--postcopy'] : []));
    expect(sent.stderr).toMatch(/completed/);
    expect(sent.exitCode).toBe(0);
    const { exitCode, stdout } = await running;
    expect(exitCode).toBe(0);
    const report = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
    expect(report).toMatchObject({ status: 'completed', postcopy: mode === 'postcopy', blocks, saved: path('two') });
    const [one, two] = [files('one'), files('two')];
    // After a postcopy no description is sent.
    if (mode === 'postcopy') one.delete('vmdescription.json');
    expect(two).toEqual(one);
  });

  test('is told of in a few lines, and kept nowhere without --save', async () => {
    const { blocks } = await saveCaptured(path('one'));
    const { running, says } = receive();
    await says(/^listening at unix:/);
    expect((await run('send', uri, '--from', path('one'))).exitCode).toBe(0);
    const { exitCode, stdout } = await running;
    expect(exitCode).toBe(0);
    expect(stdout).toContain('no: --save DIR keeps it');
    for (const { idstr, sha256 } of blocks) expect(stdout).toContain(`${sha256}  ${idstr}`);
  });
});

/** A machine that is half over in postcopy: both ends. */
async function halfOver(receiving: string[] = [], sending: string[] = []) {
  await saveCaptured(path('one'));
  const { running, says } = receive('--save', path('two'), ...receiving);
  await says(/^listening at unix:/);
  const slowly = ['--postcopy', '--max-postcopy-bandwidth', '64K'];
  const sender = run('send', uri, '--from', path('one'), ...slowly, ...sending);
  await says(/^postcopy-active/);
  return { running, says, sending: sender };
}

describe('a migration that fails', { timeout: 60_000 }, () => {
  test('in postcopy, as the source dies: the loss is said, the half that came is kept, exit code 1', async () => {
    const { running, sending } = await halfOver(['--recover-for', '0.2']);
    sending.kill('SIGKILL');
    await sending;
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^paused: /m);
    expect(stderr).toMatch(/^given up after \d+ ms: /m);
    expect(stderr).toMatch(/the machine had been handed over and is lost: [\d,]+ of its pages had not come/);
    expect(stderr).toContain(`postcopy reconcile ${path('two')} SOURCE_DIR --out DIR`);
    expect(JSON.parse(readFileSync(path('two/manifest.json'), 'utf8'))).toMatchObject({ partial: true });
  });

  test('in postcopy, as both give up: what each keeps makes the machine whole', async () => {
    const remainder = ['--save-remainder', path('rest')];
    const { running, sending } = await halfOver(['--recover-for', '0'], ['--recover-for', '0.2', ...remainder]);
    running.kill('SIGINT');
    expect((await running).exitCode).toBe(130);
    const { exitCode, stderr } = await sending;
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`postcopy reconcile DESTINATION_DIR ${path('rest')} --out DIR`);
    expect((await run('reconcile', path('two'), path('rest'), '--out', path('whole'))).exitCode).toBe(0);
    const [one, whole] = [files('one'), files('whole')];
    // After a postcopy no description is sent.
    one.delete('vmdescription.json');
    expect(whole).toEqual(one);
    const { running: next, says } = receive('--save', path('next'));
    await says(/^listening at unix:/);
    expect((await run('send', uri, '--from', path('whole'))).exitCode).toBe(0);
    expect((await next).exitCode).toBe(0);
  });

  test('frozen, it stays until Ctrl-C, and leaves nothing that hangs', async () => {
    const { running, says, sending } = await halfOver(['--recover-for', '0', '--on-lost', 'freeze']);
    sending.kill('SIGKILL');
    await says(/^its memory is frozen/);
    running.kill('SIGINT');
    expect((await running).exitCode).toBe(1);
  });

  test('poisoned, it ends by the SIGBUS of who reads RAM, when the half that came is kept', async () => {
    await saveCaptured(path('one'));
    const relay = await createRelay(`unix:${path('relay')}`, uri, { rate: 256 * 1024 });
    const { running, says } = receive('--save', path('two'), '--recover-for', '0.2', '--on-lost', 'poison');
    await says(/^listening at unix:/);
    const sending = run('send', relay.uri, '--from', path('one'), '--postcopy', '--recover-for', '0');
    // So slow that it is in the midst of them for a minute.
    await says(/^postcopy-active: .* [1-9]\d* faults, /);
    await relay.close();
    const { signal, stderr } = await running;
    expect((await sending).exitCode).toBe(1);
    expect(signal).toBe('SIGBUS');
    expect(stderr).toMatch(/^missing pages are poisoned: /m);
    expect(JSON.parse(readFileSync(path('two/manifest.json'), 'utf8'))).toMatchObject({ partial: true });
  });

  test('by Ctrl-C in postcopy: it ends at once, exit code 130', async () => {
    const { running, sending } = await halfOver();
    running.kill('SIGINT');
    const { exitCode } = await running;
    expect(exitCode).toBe(130);
    expect((await sending).exitCode).toBe(1);
  });

  test('by Ctrl-C at the source while it is paused: exit code 130', async () => {
    const { running, sending } = await halfOver(['--recover-for', '0.2']);
    const paused = new Promise<void>((resolve) =>
      sending.stderr.on('data', (text) => /^paused/m.test(String(text)) && resolve()),
    );
    running.kill('SIGKILL');
    await paused;
    sending.kill('SIGINT');
    expect((await sending).exitCode).toBe(130);
  });

  test('by Ctrl-C while nobody has connected', async () => {
    const { running, says } = receive('--save', path('two'));
    await says(/^listening at unix:/);
    running.kill('SIGINT');
    expect((await running).exitCode).toBe(130);
    expect(existsSync(path('two'))).toBe(false);
  });

  test('as postcopy is refused here, the source keeps the machine', async () => {
    await saveCaptured(path('one'));
    const { running, says } = receive('--no-postcopy', '--save', path('two'));
    await says(/^listening at unix:/);
    expect((await run('send', uri, '--from', path('one'), '--postcopy')).exitCode).toBe(1);
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('postcopy-ram is off');
    expect(existsSync(path('two'))).toBe(false);
  });
});

describe('a connection that is lost in postcopy', { timeout: 60_000 }, () => {
  test.each([
    ['the same URI', [], []],
    ['another one', ['--recover-uri'], []],
    ['the same URI, with a preempt channel', [], ['--postcopy-preempt']],
  ])('is recovered by itself, at %s', async (_where, options, both) => {
    const { blocks } = await saveCaptured(path('one'));
    const relay = await createRelay(`unix:${path('relay')}`, uri);
    const { running, says } = receive('--save', path('two'), '--json', ...both);
    await says(/^listening at unix:/);
    const sending = run(
      ...['send', relay.uri, ...both, '--from', path('one'), '--postcopy', '--max-postcopy-bandwidth', '8M', '--json'],
      ...options.flatMap((option) => [option, uri]),
    );
    await says(/^postcopy-active/);
    relay.cut();
    await says(/^recovered after /);
    const [received, sent] = await Promise.all([running, sending]);
    await relay.close();
    for (const { exitCode, stdout, stderr } of [received, sent]) {
      expect(exitCode, stderr).toBe(0);
      const { status, recoveries } = JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '');
      expect({ status, recoveries }).toEqual({
        status: 'completed',
        recoveries: { count: 1, pausedMs: expect.any(Number) },
      });
      expect(stderr).toMatch(/^paused: .*\n/m);
    }
    expect(JSON.parse(received.stdout.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({ blocks });
    const { connections } = relay.stats;
    // On a busy machine a try may fail.
    if (options.length === 0) expect(connections.length).toBeGreaterThan(both.length === 0 ? 1 : 3);
    else expect(connections).toHaveLength(1);
  });
});

test('only a machine like the one that is named is taken', { timeout: 60_000 }, async () => {
  await saveCaptured(path('one'));
  const taken = receive('--like', path('one'));
  await taken.says(/^listening at unix:/);
  expect((await run('send', uri, '--from', path('one'))).exitCode).toBe(0);
  expect((await taken.running).exitCode).toBe(0);

  await saveCaptured(path('other'), new CapturedMachine('a4-machine-none'));
  const refused = receive('--like', path('other'), '--save', path('two'));
  await refused.says(/^listening at unix:/);
  expect((await run('send', uri, '--from', path('one'))).exitCode).toBe(1);
  const { exitCode, stderr } = await refused.running;
  expect(exitCode).toBe(1);
  expect(stderr).toContain('the source sends a machine "microvm"; the machine expected here has "none"');
  expect(existsSync(path('two'))).toBe(false);
});

test('a directory that is not empty is refused before it listens', async () => {
  mkdirSync(path('two'));
  writeFileSync(path('two/mine'), '');
  const { exitCode, stderr } = await run('receive', uri, '--save', path('two'));
  expect(exitCode).toBe(1);
  expect(stderr).toBe(`postcopy: ${path('two')} is not empty: choose a directory that is new or empty`);
  expect(readdirSync(path('two'))).toEqual(['mine']);
});

test('a URI that is none leaves no directory', async () => {
  const { exitCode, stderr } = await run('receive', 'exec:cat', '--save', path('two'));
  expect(exitCode).toBe(1);
  expect(stderr).toContain('exec:cat');
  expect(existsSync(path('two'))).toBe(false);
});

test('help shows what to say to a QEMU', async () => {
  const { stdout } = await run('receive', '--help');
  expect(stdout).toContain('migrate -d unix:/run/m.sock');
});
