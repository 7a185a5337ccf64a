/**
 * Two real QEMUs and the Linux guest that writes all the while: what a migration looks like when nothing of ours
 * takes part. Whatever is put between or in place of one of them is held against this.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { bootedGuest } from '../../testing/qemu/booted-guest.ts';
import { faultsOf, reportsIn } from '../../testing/qemu/guest-console.ts';
import { type GuestImage, guestImage } from '../../testing/qemu/guest-image.ts';
import { linuxGuest } from '../../testing/qemu/linux-guest.ts';
import { type MigrationSettings, migrate } from '../../testing/qemu/migrate.ts';
import { QemuProcess } from '../../testing/qemu/qemu-process.ts';
import { corruptMemfd, memfdContent, type QemuRamBlock, ramBlocks, savedMemory } from '../../testing/qemu/ram.ts';

let image: GuestImage;
beforeAll(async () => {
  image = await guestImage();
}, 180_000);

const MIB = 2 ** 20;

/** Fast enough to converge while the guest writes 4 MiB/s. */
const precopy = { mode: 'precopy', sourceParameters: { 'max-bandwidth': 64 * MIB } } as const;

/** Hardly anything has been sent when the guest moves, so that it asks for most of what it touches. */
const postcopyAtOnce = {
  mode: 'postcopy',
  sourceParameters: { 'max-bandwidth': 16 * MIB, 'max-postcopy-bandwidth': 32 * MIB },
} as const;

/** All has been sent and some of it written again, so that there is something to discard. */
const postcopyAfterPass = {
  mode: 'postcopy',
  postcopyInPass: 2,
  sourceParameters: { 'max-bandwidth': 64 * MIB, 'downtime-limit': 1, 'max-postcopy-bandwidth': 4 * MIB },
} as const;

const cases: readonly MigrationSettings[] = [
  { transport: 'tcp', ...precopy },
  { transport: 'unix', ...postcopyAtOnce },
  { transport: 'tcp', ...postcopyAfterPass },
];

const PAGE_BYTES = 4096;
/** Where pc.bios ends in the guest's physical memory, and its size there. */
const BIOS = { end: 2 ** 32, length: 256 * 1024 };

const biosOf = (qemu: QemuProcess): Promise<Buffer> => savedMemory(qemu, BIOS.end - BIOS.length, BIOS.length);

const usedBlocks = (blocks: readonly QemuRamBlock[]) => blocks.map(({ idstr, usedLength }) => ({ idstr, usedLength }));

/** Where a page of the guest's writer lies: its first two words differ by what guest_writer.cc calls kWordStep. */
function pageOfWriter(memory: Buffer): number {
  const wordStep = 0x9e3779b97f4a7c15n;
  for (let at = 0; at < memory.length; at += PAGE_BYTES) {
    if ((memory.readBigUInt64LE(at) ^ memory.readBigUInt64LE(at + 8)) === wordStep) return at;
  }
  throw new Error('the guest has no page of its writer in memory');
}

describe('QEMU to QEMU', { timeout: 180_000 }, () => {
  test.each(cases)('$mode by $transport: the guest runs on and finds all its pages right', async (settings) => {
    await using source = await QemuProcess.start('source', await bootedGuest(image));
    await using destination = await QemuProcess.start('destination', [...linuxGuest(image), '-incoming', 'defer']);
    await source.console.report('the guest at work', ({ writes }) => writes > 300);
    const info = await migrate(source, destination, settings);
    const arrived = await destination.console.report('the guest on the destination');
    await destination.console.report('two more sweeps', ({ sweeps }) => sweeps >= arrived.sweeps + 2);
    // Ended, so that all of both consoles has been read.
    await Promise.all([source.stop(), destination.stop()]);

    expect(faultsOf(source.console.text + destination.console.text)).toEqual([]);
    expect(reportsIn(destination.console.text).at(-1)?.writes).toBeGreaterThan(arrived.writes);
    if (settings.mode === 'postcopy') expect(info.source.ram?.['postcopy-requests']).toBeGreaterThan(0);
  });

  test.each([precopy, postcopyAtOnce])(
    '$mode: RAM is the same at both ends once the guest has stopped',
    async (mode) => {
      await using source = await QemuProcess.start('source', await bootedGuest(image));
      // Stopped before it runs, so that the destination shows what came and nothing else.
      await using destination = await QemuProcess.start('destination', [
        ...[...linuxGuest(image), '-incoming', 'defer', '-S'],
      ]);
      await source.console.report('the guest at work', ({ writes }) => writes > 300);
      expect(await ramBlocks(destination)).not.toEqual([]);
      await migrate(source, destination, { transport: 'unix', ...mode });
      expect((await memfdContent(destination)).equals(await memfdContent(source))).toBe(true);
      expect((await biosOf(destination)).equals(await biosOf(source))).toBe(true);
      expect(usedBlocks(await ramBlocks(destination))).toEqual(usedBlocks(await ramBlocks(source)));
    },
  );

  test('the guest notices a page that is not as it left it', async () => {
    await using qemu = await QemuProcess.start('QEMU', await bootedGuest(image));
    await qemu.console.report('the guest at work', ({ writes }) => writes > 0);
    const at = pageOfWriter(await memfdContent(qemu));
    await corruptMemfd(qemu, at + PAGE_BYTES - 1, Uint8Array.of(0));
    await qemu.console.report('a bad page', ({ bad }) => bad > 0);
    await qemu.stop();
    expect(faultsOf(qemu.console.text).join('\n')).toMatch(/no report: "page \d+ word 511 is/);
  });
});
