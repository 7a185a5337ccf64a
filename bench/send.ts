/** Sending to a QEMU: a QEMU source beside ours, which has the same guest from having received it. */
import type { Transport } from '../testing/qemu/migrate.ts';
import type { Benchmark, BenchOptions, Comparison, Mode, OpenBenchmark, Sample } from './benchmark.ts';
import { MemoryImage } from './memory-image.ts';
import { PeerProcess } from './peer-process.ts';
import {
  completed,
  prepareToSend,
  requireSameRam,
  type SourceTimes,
  sendFromQemu,
  startQemuDestination,
  startQemuSource,
} from './qemu-peer.ts';
import { timedMigration } from './timed.ts';

/** Has `source` send to a new QEMU. */
async function sendToQemu(
  image: MemoryImage,
  mode: Mode,
  transport: Transport,
  source: { readonly pid: number },
  send: (uri: string) => Promise<SourceTimes>,
): Promise<Sample> {
  const { qemu, uri } = await startQemuDestination(image.bytes, mode, transport);
  await using destination = qemu;
  const sample = await timedMigration(image.bytes, { source, destination }, async () => {
    const [{ totalMs, downtimeMs }] = await Promise.all([send(uri), completed(destination)]);
    return { "source's total ms": totalMs, 'downtime ms': downtimeMs };
  });
  await requireSameRam(destination, image);
  return sample;
}

async function fromQemu(image: MemoryImage, mode: Mode, transport: Transport): Promise<Sample> {
  await using source = await startQemuSource(image);
  await prepareToSend(source, mode);
  return await sendToQemu(image, mode, transport, source, (uri) => sendFromQemu(source, uri, mode));
}

function comparisonOf(image: MemoryImage, us: PeerProcess, mode: Mode, transport: Transport): Comparison {
  return {
    name: `send, ${mode}, ${transport}`,
    baseline: 'QEMU → QEMU',
    contenders: [
      { name: 'QEMU → QEMU', run: () => fromQemu(image, mode, transport) },
      { name: 'us → QEMU', run: () => sendToQemu(image, mode, transport, us, (uri) => us.send(uri, mode)) },
    ],
  };
}

/** A process of ours that has received the guest. */
async function startSource(image: MemoryImage): Promise<PeerProcess> {
  const us = PeerProcess.start();
  try {
    const uri = await us.listen('unix', 'precopy');
    await using source = await startQemuSource(image);
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
): Promise<OpenBenchmark> {
  const image = await MemoryImage.create(memoryBytes);
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

export const send: Benchmark = {
  name: 'send',
  title: 'Sending to a QEMU, beside a QEMU source',
  open: ({ memoryBytes, modes, transports }: BenchOptions) =>
    openWithSource(memoryBytes, (image, us) =>
      modes.flatMap((mode) => transports.map((transport) => comparisonOf(image, us, mode, transport))),
    ),
};
