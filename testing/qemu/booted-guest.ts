/**
 * The Linux guest as it is once it has booted and writes: QEMU's own stream of it, from which a source starts in a
 * moment where booting under TCG takes seconds. Made at first use and kept (kept-file.ts).
 */
import { createHash } from 'node:crypto';
import { execa } from 'execa';
import type { GuestImage } from './guest-image.ts';
import { kept } from './kept-file.ts';
import { type LinuxGuestOptions, linuxGuest } from './linux-guest.ts';
import { migrationCompleted, setUp } from './migrate.ts';
import { QEMU, QemuProcess } from './qemu-process.ts';

/** Pages that the guest has written when it is kept. */
const WRITES = 300;

/** As fast as it goes, so that one pass is enough whatever the guest writes. */
const AT_ONCE = { 'max-bandwidth': 2 ** 40, 'downtime-limit': 10_000 };

/**
 * The arguments of a QEMU that has the guest at work. Capabilities can't be set until it runs: wait for a report.
 */
export async function bootedGuest(image: GuestImage, options: LinuxGuestOptions = {}): Promise<string[]> {
  const args = linuxGuest(image, options);
  const { stdout: version } = await execa(QEMU, ['--version']);
  const name = createHash('sha256')
    .update(JSON.stringify([version, args]))
    .digest('hex')
    .slice(0, 16);
  const file = await kept(`booted-${name}`, (path) => boot(args, path));
  return [...args, '-incoming', `exec:cat '${file}'`];
}

async function boot(args: readonly string[], path: string): Promise<void> {
  await using qemu = await QemuProcess.start('the QEMU that boots', args);
  await qemu.console.report('the guest at work', ({ writes }) => writes > WRITES);
  await setUp(qemu, [], AT_ONCE);
  await qemu.qmp.execute('migrate', { uri: `exec:cat > '${path}'` });
  await migrationCompleted(qemu);
}
