/**
 * How fast a guest's RAM moves: every pair of a QEMU and us, the same content for all, beside the limit of the host
 * measured in the same round.
 */
import type { Transport } from '../testing/qemu/migrate.ts';
import {
  type Benchmark,
  type BenchOptions,
  type Comparison,
  type Contender,
  type Content,
  MIB,
  type Mode,
  type Sample,
} from './benchmark.ts';
import { type DestinationEnd, ourDestination, ourSource, qemuDestination, qemuSource, type SourceEnd } from './ends.ts';
import { measureRate, measureSocket, type Rate, warmMemory } from './limits-program.ts';
import type { MemoryImage } from './memory-image.ts';
import type { PeerProcess } from './peer-process.ts';
import { openWithSource } from './source-with-guest.ts';
import { type PartRates, PLACEMENT_CHUNKS, throughputLimit } from './throughput-limit.ts';
import { timedMigration } from './timed.ts';

/** Bytes that the limits are measured over, at most: enough of them to be steady. */
const LIMIT_BYTES = 512 * MIB;

const LIMIT = 'the limit';

async function move(opening: () => SourceEnd | Promise<SourceEnd>, accepting: Promise<DestinationEnd>, bytes: number) {
  await using destination = await accepting;
  await using source = await opening();
  await warmMemory(2 * bytes);
  const sample = await timedMigration(bytes, { source, destination }, async () => {
    const [{ totalMs, downtimeMs }] = await Promise.all([source.send(destination.uri), destination.completed()]);
    return { "source's total ms": totalMs, 'downtime ms': downtimeMs };
  });
  await destination.requireSameRam();
  return sample;
}

/** The best of the chunks that an engine could use. */
async function bestRate(what: Rate, bytes: number): Promise<number> {
  let best = 0;
  for (const chunk of PLACEMENT_CHUNKS) best = Math.max(best, await measureRate(what, chunk, bytes));
  return best;
}

async function limit(memoryBytes: number, content: Content, mode: Mode, transport: Transport): Promise<Sample> {
  const bytes = Math.min(memoryBytes, LIMIT_BYTES);
  await warmMemory(2 * bytes);
  const rates: PartRates = {
    copy: await bestRate('copy', bytes),
    zeropage: await bestRate('zeropage', bytes),
    memcpy: await bestRate('memcpy', bytes),
    read: await bestRate('read', bytes),
    socket: await measureSocket(transport, bytes),
  };
  const figures = Object.entries(rates).map(([part, rate]) => [`${part} MiB/s`, rate / MIB]);
  return { throughput: throughputLimit(mode, content, rates) / MIB, figures: Object.fromEntries(figures) };
}

type Kind = readonly [content: Content, mode: Mode, transport: Transport];

function comparisonOf(image: MemoryImage, us: PeerProcess, [content, mode, transport]: Kind): Comparison {
  const sources = { QEMU: () => qemuSource(image, { mode }), us: () => ourSource(us, { mode }) };
  const destinations = {
    QEMU: () => qemuDestination(image, transport, { mode }),
    us: () => ourDestination(image, transport, { mode }),
  };
  const pair = (from: keyof typeof sources, to: keyof typeof destinations): Contender => ({
    name: `${from} → ${to}`,
    run: () => move(sources[from], destinations[to](), image.bytes),
  });
  return {
    name: `${mode}, ${transport}, ${content}`,
    baseline: 'QEMU → QEMU',
    limit: LIMIT,
    contenders: [
      pair('QEMU', 'QEMU'),
      pair('us', 'us'),
      pair('us', 'QEMU'),
      pair('QEMU', 'us'),
      { name: LIMIT, run: () => limit(image.bytes, content, mode, transport) },
    ],
  };
}

export const throughput: Benchmark = {
  name: 'throughput',
  title: 'How fast RAM moves: QEMU and us at either end, beside what the host can do',
  ofEachContent: true,
  open({ memoryBytes, modes, transports }: BenchOptions, content: Content) {
    const kinds = modes.flatMap((mode) => transports.map((transport): Kind => [content, mode, transport]));
    const comparisons = (image: MemoryImage, us: PeerProcess) => kinds.map((kind) => comparisonOf(image, us, kind));
    return openWithSource(memoryBytes, comparisons, content);
  },
};
