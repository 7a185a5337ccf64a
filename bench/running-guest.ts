/**
 * A guest that runs at QEMU: Linux with a writer that checks what it reads (testing/qemu/). A source is started from
 * what was saved of one that had booted, which takes no time.
 */
import { createHash } from 'node:crypto';
import { bootedGuest } from '../testing/qemu/booted-guest.ts';
import { guestImage } from '../testing/qemu/guest-image.ts';
import { LINUX_GUEST_MEMORY_KIB, linuxGuest } from '../testing/qemu/linux-guest.ts';
import type { Transport } from '../testing/qemu/migrate.ts';
import { QemuProcess } from '../testing/qemu/qemu-process.ts';
import { memfdContent } from '../testing/qemu/ram.ts';
import { MIB, type Mode } from './benchmark.ts';
import type { GuestSettings } from './peer-messages.ts';
import { prepareToSend, startListening } from './qemu-peer.ts';

/** Of the guest's time: pages that it writes in a tenth of a second, and how many it goes through. */
const WRITER = { pagesPerTick: 100, workingSetMib: 4 };
const MEMORY_BYTES = LINUX_GUEST_MEMORY_KIB * 1024;

/** A guest of ours that writes as much, and whose RAM is as large and as full. */
export const GUEST_OF_OURS: GuestSettings = {
  memory: MEMORY_BYTES,
  filledShare: 1 / 2,
  workingSetShare: (WRITER.workingSetMib * MIB) / MEMORY_BYTES,
  writesPerSecond: WRITER.pagesPerTick * 10,
};

export class RunningGuest {
  readonly #arguments: readonly string[];
  /** Of a QEMU that has it at work. */
  readonly #booted: readonly string[];

  private constructor(args: readonly string[], booted: readonly string[]) {
    this.#arguments = args;
    this.#booted = booted;
  }

  static async boot(): Promise<RunningGuest> {
    const image = await guestImage();
    return new RunningGuest(linuxGuest(image, WRITER), await bootedGuest(image, WRITER));
  }

  /** One in which it runs, set up to send it. */
  async startSource(mode: Mode): Promise<QemuProcess> {
    const qemu = await QemuProcess.start('the source', this.#booted);
    try {
      await qemu.console.report('that it runs');
      await prepareToSend(qemu, mode);
      return qemu;
    } catch (error) {
      await qemu.stop();
      throw error;
    }
  }

  startDestination(mode: Mode, transport: Transport): Promise<{ readonly qemu: QemuProcess; readonly uri: string }> {
    return startListening(this.#arguments, mode, transport);
  }
}

/** Throws unless the guest goes on at that QEMU, with every page as it has written it. */
export async function requireSoundGuest({ name, console }: QemuProcess): Promise<void> {
  const { sweeps } = await console.report('that the guest goes on');
  const report = await console.report('two more sweeps', (later) => later.sweeps >= sweeps + 2 || later.bad > 0);
  if (report.bad > 0) throw new Error(`${name}: its guest has found ${report.bad} wrong pages`);
}

/** SHA-256 of its RAM. */
export async function hashOf(qemu: QemuProcess): Promise<string> {
  return createHash('sha256')
    .update(await memfdContent(qemu))
    .digest('hex');
}
