/**
 * `postcopy receive` from a real QEMU and `postcopy send` of what it kept to another: RAM is byte for byte what the
 * source holds, and the guest goes on where it was. In and out by precopy and by postcopy: as what is kept is the same
 * however it came, not each with each.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bootedGuest } from '../../testing/qemu/booted-guest.ts';
import { faultsOf, reportsIn } from '../../testing/qemu/guest-console.ts';
import { type GuestImage, guestImage } from '../../testing/qemu/guest-image.ts';
import { GUEST_RAM, linuxGuest } from '../../testing/qemu/linux-guest.ts';
import { listenForMigration, migrationCompleted, setUp, type Transport } from '../../testing/qemu/migrate.ts';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { memfdContent, ramBlocks } from '../../testing/qemu/ram.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const MIB = 2 ** 20;

type Mode = 'precopy' | 'postcopy';

let image: GuestImage;
let folder: string;
beforeAll(async () => {
  image = await guestImage();
}, 180_000);
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function run(...args: string[]) {
  return execa(process.execPath, [main, ...args], { reject: false, env: { NO_COLOR: '1' }, timeout: 120_000 });
}

const report = (stdout: string) => JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '{}');

/** The guest of `source` into the directory of that name; what `receive` reports. */
async function park(source: QemuProcess, mode: Mode, transport: Transport, save: string) {
  const uri = transport === 'unix' ? `unix:${join(folder, 'm.sock')}` : 'tcp:127.0.0.1:0';
  const receiving = run('receive', uri, '--save', save, '--json');
  let listening = '';
  for await (const line of createInterface({ input: receiving.stderr })) {
    listening = /^listening at (\S+)/.exec(line)?.[1] ?? '';
    if (listening !== '') break;
  }
  receiving.stderr.resume();
  await setUp(source, mode === 'postcopy' ? ['postcopy-ram'] : ['return-path'], {
    'max-bandwidth': mode === 'postcopy' ? 16 * MIB : 64 * MIB,
    // Slower than RAM is read, so that the reading comes to what is missing.
    'max-postcopy-bandwidth': 32 * MIB,
  });
  await source.qmp.execute('migrate', { uri: listening });
  if (mode === 'postcopy') {
    await source.qmp.event('MIGRATION_PASS', ({ pass }) => Number(pass) >= 1);
    await source.qmp.execute('migrate-start-postcopy');
  }
  await migrationCompleted(source);
  const { exitCode, stdout, stderr } = await receiving;
  expect({ exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ exitCode: 0, stderr: '' });
  return report(stdout);
}

/** What is in the directory into a QEMU that waits; what `send` reports. */
async function unpark(destination: QemuProcess, mode: Mode, transport: Transport, from: string) {
  await setUp(destination, mode === 'postcopy' ? ['postcopy-ram'] : []);
  const uri = await listenForMigration(destination, transport);
  const { exitCode, stdout, stderr } = await run(
    ...['send', uri, '--from', from, '--json', ...(mode === 'postcopy' ? ['--postcopy'] : [])],
  );
  expect({ exitCode, stderr: exitCode === 0 ? '' : `${stderr}${destination.stderr}` }).toEqual({
    exitCode: 0,
    stderr: '',
  });
  await migrationCompleted(destination);
  return report(stdout);
}

describe('QEMU to a directory to QEMU', { timeout: 180_000 }, () => {
  test.each<{ inMode: Mode; outMode: Mode; transport: Transport }>([
    { inMode: 'precopy', outMode: 'postcopy', transport: 'tcp' },
    { inMode: 'postcopy', outMode: 'precopy', transport: 'unix' },
  ])('in by $inMode, out by $outMode, over $transport: the guest goes on', async ({ inMode, outMode, transport }) => {
    const guest = linuxGuest(image);
    await using source = await QemuProcess.start('source', await bootedGuest(image));
    await source.console.report('the guest at work', ({ writes }) => writes > 300);
    const saved = join(folder, 'saved');
    const received = await park(source, inMode, transport, saved);

    const truth = await ramBlocks(source);
    expect(received).toMatchObject({
      status: 'completed',
      postcopy: inMode === 'postcopy',
      runState: 'running',
      saved,
    });
    const lengths = received.blocks.map(({ idstr, length }: { idstr: string; length: number }) => [idstr, length]);
    expect(Object.fromEntries(lengths)).toEqual(
      Object.fromEntries(truth.map(({ idstr, usedLength }) => [idstr, usedLength])),
    );
    const ram = received.blocks.find(({ idstr }: { idstr: string }) => idstr === GUEST_RAM);
    expect(ram.sha256).toBe(sha256(await memfdContent(source)));
    const manifest = JSON.parse(readFileSync(join(saved, 'manifest.json'), 'utf8'));
    for (const { file, sha256: digest } of manifest.blocks) {
      expect(sha256(readFileSync(join(saved, file)))).toBe(digest);
    }
    if (inMode === 'postcopy') expect(received.faults.count).toBeGreaterThan(0);
    await source.stop();

    await using destination = await QemuProcess.start('destination', [...guest, '-incoming', 'defer']);
    const sent = await unpark(destination, outMode, transport, saved);
    expect(sent).toMatchObject({ status: 'completed', postcopy: outMode === 'postcopy' });
    const parked = reportsIn(source.console.text).at(-1)?.writes ?? 0;
    const arrived = await destination.console.report('the guest on the destination', ({ writes }) => writes >= parked);
    await destination.console.report('two more sweeps', ({ sweeps }) => sweeps >= arrived.sweeps + 2);
    await destination.stop();
    expect(faultsOf(source.console.text + destination.console.text)).toEqual([]);
    if (outMode === 'postcopy') expect(sent.ram.postcopyRequests).toBeGreaterThan(0);
  });
});
