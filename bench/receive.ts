/** Receiving from a QEMU: a QEMU destination beside ours, the same source and content for both. */
import type { Transport } from '../testing/qemu/migrate.ts';
import type { Benchmark, BenchOptions, Comparison, Mode, Sample } from './benchmark.ts';
import { MemoryImage } from './memory-image.ts';
import { PeerProcess } from './peer-process.ts';
import {
  completed,
  prepareToSend,
  RAM_ID,
  requireSameRam,
  sendFromQemu,
  startQemuDestination,
  startQemuSource,
} from './qemu-peer.ts';
import { timedMigration } from './timed.ts';

async function qemuToQemu(image: MemoryImage, mode: Mode, transport: Transport): Promise<Sample> {
  const { qemu, uri } = await startQemuDestination(image.bytes, mode, transport);
  await using destination = qemu;
  await using source = await startQemuSource(image);
  await prepareToSend(source, mode);
  const sample = await timedMigration(image.bytes, { source, destination }, async () => {
    const [{ totalMs }] = await Promise.all([sendFromQemu(source, uri, mode), completed(destination)]);
    return { "source's total ms": totalMs };
  });
  await requireSameRam(destination, image);
  return sample;
}

async function qemuToUs(image: MemoryImage, mode: Mode, transport: Transport, reads: boolean): Promise<Sample> {
  await using destination = PeerProcess.start();
  const uri = await destination.listen(transport, mode, reads);
  await using source = await startQemuSource(image);
  await prepareToSend(source, mode);
  const sample = await timedMigration(image.bytes, { source, destination }, async () => {
    const [{ totalMs }, received] = await Promise.all([sendFromQemu(source, uri, mode), destination.received()]);
    const { firstReadMs, allReadMs, requests } = received;
    const ofReader = { 'first read ms': firstReadMs, 'all read ms': allReadMs, requests };
    return { "source's total ms": totalMs, ...(reads ? ofReader : {}) };
  });
  await destination.requireSameRam(RAM_ID, image.path);
  return sample;
}

function comparisonOf(image: MemoryImage, mode: Mode, transport: Transport): Comparison {
  const ours = (name: string, reads: boolean) => ({ name, run: () => qemuToUs(image, mode, transport, reads) });
  return {
    name: `receive, ${mode}, ${transport}`,
    baseline: 'QEMU → QEMU',
    contenders: [
      { name: 'QEMU → QEMU', run: () => qemuToQemu(image, mode, transport) },
      ours('QEMU → us', false),
      ...(mode === 'postcopy' ? [ours('QEMU → us, read meanwhile', true)] : []),
    ],
  };
}

export const receive: Benchmark = {
  name: 'receive',
  title: 'Receiving from a QEMU, beside a QEMU destination',
  async open({ memoryBytes, modes, transports }: BenchOptions) {
    const image = await MemoryImage.create(memoryBytes);
    return {
      comparisons: modes.flatMap((mode) => transports.map((transport) => comparisonOf(image, mode, transport))),
      [Symbol.asyncDispose]: async () => image[Symbol.dispose](),
    };
  },
};
