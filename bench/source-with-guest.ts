/** A process of ours that has a guest to send: QEMU's, which it has received, so that both send the same. */
import { totalmem } from 'node:os';
import type { MemoryKind } from '#lib/memory/ram-block.js';
import type { QemuProcess } from '../testing/qemu/qemu-process.ts';
import { type Comparison, type Content, GIB, type OpenBenchmark } from './benchmark.ts';
import { MemoryImage } from './memory-image.ts';
import { PeerProcess } from './peer-process.ts';
import { prepareToSend, RAM_ID, sendFromQemu, startQemuSource } from './qemu-peer.ts';

/** One that has received what the QEMU has that `start` starts. */
export async function startWithGuestOf(
  start: () => Promise<QemuProcess>,
  kind: MemoryKind = 'anonymous',
): Promise<PeerProcess> {
  const us = PeerProcess.start();
  try {
    const uri = await us.listen('unix', { mode: 'precopy', kind });
    await using source = await start();
    await prepareToSend(source, 'precopy');
    await Promise.all([sendFromQemu(source, uri, 'precopy'), us.received()]);
    return us;
  } catch (error) {
    await us[Symbol.asyncDispose]();
    throw error;
  }
}

/** What the host needs besides. */
const RESERVE_BYTES = 2 * GIB;

/** With the guest in memory of its own. Where there is too little for that, QEMU's sources map ours. */
async function startSource(image: MemoryImage): Promise<PeerProcess> {
  // The image, ours, and a destination's.
  const hasRoom = 3 * image.bytes + RESERVE_BYTES <= totalmem();
  const us = await startWithGuestOf(() => startQemuSource(image), hasRoom ? 'anonymous' : 'memfd');
  if (hasRoom) return us;
  try {
    await us.requireSameRam(RAM_ID, image.path);
    image.replaceBy(await us.file(RAM_ID));
    return us;
  } catch (error) {
    await us[Symbol.asyncDispose]();
    throw error;
  }
}

/** A benchmark of a source of ours that has the guest: opened with what is compared of the two. */
export async function openWithSource(
  memoryBytes: number,
  comparisons: (image: MemoryImage, us: PeerProcess) => readonly Comparison[],
  content: Content = 'quarter-zero',
): Promise<OpenBenchmark> {
  const image = await MemoryImage.create(memoryBytes, content);
  try {
    const us = await startSource(image);
    return {
      comparisons: comparisons(image, us),
      [Symbol.asyncDispose]: async () => {
        await us[Symbol.asyncDispose]();
        image[Symbol.dispose]();
      },
    };
  } catch (error) {
    image[Symbol.dispose]();
    throw error;
  }
}
