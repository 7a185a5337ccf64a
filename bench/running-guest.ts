/**
 * A guest that runs at QEMU: Linux with a writer that checks what it reads (testing/qemu/). It is booted once; a source
 * is started from what was saved then, which takes no time.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestImage } from '../testing/qemu/guest-image.ts';
import { linuxGuest } from '../testing/qemu/linux-guest.ts';
import { listenForMigration, setUp, type Transport } from '../testing/qemu/migrate.ts';
import { QemuProcess } from '../testing/qemu/qemu-process.ts';
import { memfdContent } from '../testing/qemu/ram.ts';
import type { Mode } from './benchmark.ts';
import { capabilitiesOf, completed, sendingParameters } from './qemu-peer.ts';

/** Of the guest's time: pages that it writes in a tenth of a second, and how many it goes through. */
const WRITER = { pagesPerTick: 100, workingSetMib: 4 };

export class RunningGuest implements Disposable {
  readonly #folder: string;
  readonly #arguments: readonly string[];

  private constructor(folder: string, args: readonly string[]) {
    this.#folder = folder;
    this.#arguments = args;
  }

  static async boot(): Promise<RunningGuest> {
    const args = linuxGuest(await guestImage(), WRITER);
    const guest = new RunningGuest(mkdtempSync(join(tmpdir(), 'postcopy-bench-')), args);
    try {
      await using qemu = await QemuProcess.start('the first QEMU', args);
      await qemu.console.report('its first sweep', ({ sweeps }) => sweeps > 0);
      await setUp(qemu, [], sendingParameters);
      await qemu.qmp.execute('migrate', { uri: `exec:cat > ${guest.#saved}` });
      await completed(qemu);
      return guest;
    } catch (error) {
      guest[Symbol.dispose]();
      throw error;
    }
  }

  /** One in which it runs, set up to send it. */
  async startSource(mode: Mode): Promise<QemuProcess> {
    const qemu = await QemuProcess.start('the source', [...this.#arguments, '-incoming', 'defer']);
    try {
      // Without events of migration until it is here: those are to be of the next one.
      await qemu.qmp.execute('migrate-incoming', { uri: `exec:cat ${this.#saved}` });
      await qemu.qmp.event('RESUME');
      await setUp(qemu, capabilitiesOf(mode), sendingParameters);
      await qemu.console.report('that it runs');
      return qemu;
    } catch (error) {
      await qemu.stop();
      throw error;
    }
  }

  async startDestination(
    mode: Mode,
    transport: Transport,
  ): Promise<{ readonly qemu: QemuProcess; readonly uri: string }> {
    const qemu = await QemuProcess.start('the destination', [...this.#arguments, '-incoming', 'defer']);
    try {
      await setUp(qemu, capabilitiesOf(mode));
      return { qemu, uri: await listenForMigration(qemu, transport) };
    } catch (error) {
      await qemu.stop();
      throw error;
    }
  }

  get #saved(): string {
    return join(this.#folder, 'saved');
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
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
