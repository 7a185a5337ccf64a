/** A real QEMU with the machine that most captures were made on: microvm with the firmware that the captures carry. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CapturedMachine } from './captured-machine.ts';
import { QemuProcess } from './qemu-process.ts';

/** Guest RAM, whose size is not whole MiB; here a memfd, so that it can be read from outside. */
export const CAPTURED_RAM = 'microvm.ram';

export async function startCapturedMachine(
  name: string,
  machine: CapturedMachine,
  args: readonly string[],
): Promise<QemuProcess> {
  const { usedLength = 0 } = machine.blocks.find(({ idstr }) => idstr === CAPTURED_RAM) ?? {};
  const folder = await mkdtemp(join(tmpdir(), 'postcopy-bios-'));
  try {
    const bios = join(folder, 'bios.bin');
    await writeFile(bios, machine.memory.get('pc.bios') ?? new Uint8Array());
    // The firmware has been read when the monitor answers.
    return await QemuProcess.start(name, [
      ...['-M', `${machine.machine},memory-backend=${CAPTURED_RAM}`, '-m', `${usedLength / 1024}k`, '-bios', bios],
      ...['-object', `memory-backend-memfd,id=${CAPTURED_RAM},size=${usedLength},share=on`, '-serial', 'null'],
      ...args,
    ]);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
