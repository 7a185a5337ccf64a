/**
 * What the engine needs by the size of the guest: memory of its own at either end, and time. The guest is one of ours
 * whose pages are nearly all zero, so that one of any size fits in here.
 */
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, GIB, MIB, type Mode, type Sample } from './benchmark.ts';
import { PeerProcess } from './peer-process.ts';
import { timedMigration } from './timed.ts';

const PAGE = 4096;
const SIZES = [64 * MIB, GIB, 10 * GIB];
const SIZES_QUICK = [64 * MIB, 256 * MIB];

const sizeOf = (bytes: number): string => (bytes < GIB ? `${bytes / MIB} MiB` : `${bytes / GIB} GiB`);

const startWithGuest = async (memory: number): Promise<PeerProcess> => {
  const us = PeerProcess.start();
  await us.makeGuest({ memory, filledShare: 0, workingSetShare: 0 });
  return us;
};

async function move(bytes: number, mode: Mode, transport: Transport): Promise<Sample> {
  await using source = await startWithGuest(bytes);
  await using destination = PeerProcess.start();
  const uri = await destination.listen(transport, { mode, memory: bytes });
  const before = { source: await source.memory(), destination: await destination.memory() };
  const { throughput = 0, figures } = await timedMigration(bytes, { source, destination }, async () => {
    await Promise.all([source.send(uri, { mode }), destination.received()]);
    return {};
  });
  const after = { source: await source.memory(), destination: await destination.memory() };
  await destination.verify();
  const sides = (['source', 'destination'] as const).flatMap((side) => {
    const grownBytes = after[side].peakBytes - before[side].nowBytes;
    return [
      [`${side} grew by MiB`, grownBytes / MIB],
      [`${side} bits a page`, (grownBytes * 8) / (bytes / PAGE)],
    ];
  });
  return { throughput, figures: { ...figures, ...Object.fromEntries(sides) } };
}

function comparisonOf(sizes: readonly number[], mode: Mode, transport: Transport): Comparison {
  return {
    name: `memory, ${mode}, ${transport}`,
    baseline: sizeOf(sizes[1]),
    compared: ['source grew by MiB', 'destination grew by MiB'],
    contenders: sizes.map((bytes) => ({ name: sizeOf(bytes), run: () => move(bytes, mode, transport) })),
  };
}

export const memory: Benchmark = {
  name: 'memory',
  title: 'What the engine needs by the size of the guest: memory of its own, and time',
  async open({ modes, transports, quick }: BenchOptions) {
    const [transport] = transports;
    return {
      comparisons: modes.map((mode) => comparisonOf(quick ? SIZES_QUICK : SIZES, mode, transport)),
      [Symbol.asyncDispose]: async () => {},
    };
  },
};
