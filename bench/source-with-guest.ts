/** A process of ours that has a guest to send: QEMU's, which it has received, so that both send the same. */
import type { QemuProcess } from '../testing/qemu/qemu-process.ts';
import type { Comparison, Content, OpenBenchmark } from './benchmark.ts';
import { MemoryImage } from './memory-image.ts';
import { PeerProcess } from './peer-process.ts';
import { prepareToSend, sendFromQemu, startQemuSource } from './qemu-peer.ts';

/** One that has received what the QEMU has that `start` starts. */
export async function startWithGuestOf(start: () => Promise<QemuProcess>): Promise<PeerProcess> {
  const us = PeerProcess.start();
  try {
    const uri = await us.listen('unix', { mode: 'precopy' });
    await using source = await start();
    await prepareToSend(source, 'precopy');
    await Promise.all([sendFromQemu(source, uri, 'precopy'), us.received()]);
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
    const us = await startWithGuestOf(() => startQemuSource(image));
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
