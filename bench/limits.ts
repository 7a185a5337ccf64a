/** What this host can do at most, without any engine (native/limits.cc): what all else is to be held against. */
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, type Contender, MIB, type Sample } from './benchmark.ts';
import { measureFaults, measureRate, measureSocket, type Rate } from './limits-program.ts';
import { quantileFigures } from './statistics.ts';

const KIB = 1024;
const CHUNKS = [4, 16, 64, 256, 1024, 2048].map((kib) => kib * KIB);
/** Of memory and of a socket, at most: enough of them to be steady. */
const BYTES_MAX = 512 * MIB;
const FAULTS = 20_000;
const FAULTS_QUICK = 1000;

const rates: Readonly<Record<Rate, string>> = {
  copy: 'UFFDIO_COPY',
  zeropage: 'UFFDIO_ZEROPAGE',
  memcpy: 'memcpy',
  read: 'reading',
};

const sizeOf = (bytes: number): string => (bytes < MIB ? `${bytes / KIB} KiB` : `${bytes / MIB} MiB`);

function byChunk(what: Rate, bytes: number): Comparison {
  const contender = (chunk: number): Contender => ({
    name: sizeOf(chunk),
    run: async () => ({ throughput: (await measureRate(what, chunk, bytes)) / MIB, figures: {} }),
  });
  return { name: `${rates[what]} by chunk`, baseline: sizeOf(CHUNKS[0]), contenders: CHUNKS.map(contender) };
}

function sockets(transports: readonly Transport[], bytes: number): Comparison {
  const contender = (transport: Transport): Contender => ({
    name: transport,
    run: async () => ({ throughput: (await measureSocket(transport, bytes)) / MIB, figures: {} }),
  });
  return { name: 'a socket, 1 MiB at once', contenders: transports.map(contender) };
}

async function faultSample(place: 'local' | Transport, count: number): Promise<Sample> {
  const times = await measureFaults(place, count);
  return { throughput: times.perSecond, figures: quantileFigures(times) };
}

function roundTrips(transports: readonly Transport[], count: number): Comparison {
  return {
    name: 'a page fault, from touch to going on',
    unit: 'faults',
    baseline: 'local',
    compared: ['p50 µs'],
    contenders: (['local', ...transports] as const).map((place) => ({
      name: place === 'local' ? place : `remote, ${place}`,
      run: () => faultSample(place, count),
    })),
  };
}

export const limits: Benchmark = {
  name: 'limits',
  title: 'What the host can do at most, without any engine',
  async open({ memoryBytes, transports, quick }: BenchOptions) {
    const bytes = Math.min(memoryBytes, BYTES_MAX);
    return {
      comparisons: [
        ...(Object.keys(rates) as Rate[]).map((what) => byChunk(what, bytes)),
        sockets(transports, bytes),
        roundTrips(transports, quick ? FAULTS_QUICK : FAULTS),
      ],
      [Symbol.asyncDispose]: async () => {},
    };
  },
};
