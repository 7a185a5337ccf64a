/** `postcopy inspect` as a user runs it: output, exit codes, pipes, and errors of one sentence. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { capture } from '../../testing/captures.js';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const fixtures = fileURLToPath(new URL('../fixtures/captures/', import.meta.url));
const recording = (name: string, conn = 0, direction = 's2d') => `${fixtures}${name}/conn${conn}.${direction}.bin.gz`;

function inspect(args: readonly string[], input?: Uint8Array) {
  const options = { reject: false, env: { NO_COLOR: '1' }, timeout: 60_000 } as const;
  return execa(process.execPath, [main, 'inspect', ...args], input === undefined ? options : { ...options, input });
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'postcopy-inspect-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('a recording', () => {
  test('as a table', async () => {
    const { exitCode, stdout, stderr } = await inspect([recording('a-precopy')]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toContain('microvm.ram');
    expect(stdout).toMatch(/\ncomplete: every record is whole, 4,280,876 bytes$/);
  });

  test('as JSON', async () => {
    const { exitCode, stdout } = await inspect([recording('b-postcopy'), '--json']);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      file: recording('b-postcopy'),
      kind: 'main',
      gzip: true,
      version: 3,
      configuration: { machine: 'microvm' },
      sections: expect.arrayContaining([expect.objectContaining({ idstr: 'ram', id: 2 })]),
      commands: expect.arrayContaining([expect.objectContaining({ command: 'POSTCOPY_RUN', packaged: true })]),
      blocks: expect.arrayContaining([expect.objectContaining({ idstr: 'pc.bios', distinct: 16 })]),
      pages: { normal: 2312, zero: 2319, xbzrle: 0, compressed: 0 },
      end: { verdict: 'complete' },
    });
  });

  test('from a pipe, packed or not', async () => {
    const bytes = capture('a4-machine-none').fromSource(0);
    const { exitCode, stdout } = await inspect(['-', '--json'], bytes);
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ file: 'standard input', gzip: false, bytes: bytes.length });
  });

  test('record by record', async () => {
    const { exitCode, stdout } = await inspect([recording('a-precopy'), '--records']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^ +0x0 {2}HEADER version 3\n/);
    expect(stdout).toMatch(/\n +0x19c4 {2}normal microvm\.ram 0x100000, 768 pages\n/);
  });

  test('of another connection, with that of the main one', async () => {
    const preempt = [recording('c-preempt', 1), '--main', recording('c-preempt')];
    const { exitCode, stdout } = await inspect(preempt);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/postcopy-preempt/);
  });
});

describe('--device', () => {
  test('prints the fields of all its instances', async () => {
    const { exitCode, stdout } = await inspect([recording('a-precopy'), '--device', 'ioapic']);
    expect(exitCode).toBe(0);
    expect(stdout.match(/^ioapic instance/gm)).toHaveLength(2);
    expect(stdout).toMatch(/^ioredtbl +65536 65536/m);
  });

  test('in JSON leaves only that device', async () => {
    const { stdout } = await inspect([recording('a-precopy'), '--device', 'timer', '--json']);
    const { devices } = JSON.parse(stdout);
    expect(devices).toMatchObject([{ name: 'timer', fields: { cpu_clock_offset: expect.any(Number) } }]);
  });

  test('names those that there are', async () => {
    const { exitCode, stderr } = await inspect([recording('a-precopy'), '--device', 'nvme']);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^postcopy: .*"nvme": it has timer, fw_cfg, .*$/);
  });
});

describe('what is not whole', () => {
  test('a cut recording', async () => {
    const { exitCode, stdout } = await inspect(['-'], capture('a-precopy').fromSource(0).subarray(0, 1_000_000));
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(
      /\ncut at offset 1000000 \(0xf4240\): .* \(ram section\); in section 2 \(ram\), from offset/,
    );
  });

  test('a corrupt one', async () => {
    const bytes = capture('a-precopy').fromSource(0).slice();
    bytes.fill(0xff, 0x19c4, 0x19cc);
    const path = join(folder, 'corrupt');
    await writeFile(path, bytes);
    const { exitCode, stdout } = await inspect([path]);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/\ncorrupt: ram record at offset 6596 \(0x19c4\): flags 0xfff; in section 2 \(ram\)/);
  });

  test('something else', async () => {
    const { exitCode, stdout } = await inspect([main]);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/\nunreadable: this is text$/);
  });
});

describe('errors are one sentence', () => {
  test.each([
    ['a file that is not there', ['/no/such/file'], 1, /^postcopy: cannot read ".*" \(ENOENT\): give the path/],
    ['a main recording that is not there', ['-', '--main', '/no/such'], 1, /^postcopy: cannot read "\/no\/such"/],
    ['one input for two recordings', ['-', '--main', '-'], 1, /^postcopy: standard input can be only one/],
    ['no file', [], 2, /missing required argument/],
  ])('%s', async (_what, args, code, sentence) => {
    const { exitCode, stdout, stderr } = await inspect(args, new Uint8Array(0));
    expect({ exitCode, stdout }).toEqual({ exitCode: code, stdout: '' });
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/\n\s+at /);
  });
});

test('ends quietly when its reader has seen enough', async () => {
  const bytes = capture('b8-postcopy-after-passes').fromSource(0);
  const child = spawn(process.execPath, [main, 'inspect', '-', '--records']);
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  // It may be gone before it has read everything.
  child.stdin.on('error', () => {});
  child.stdin.write(bytes.subarray(0, 3_000_000));
  await once(child.stdout, 'data');
  child.stdout.destroy();
  await once(child.stdout, 'close');
  child.stdin.end(bytes.subarray(3_000_000));
  const [exitCode] = await once(child, 'close');
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
});
