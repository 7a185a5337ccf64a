/**
 * What a dashboard costs a migration: the demo, whose guest writes all the while, without one, without one again, and
 * with one that is open and told all there is. The second tells how far the same thing is from itself. All of the RAM
 * goes in postcopy, so that there are faults from begin to end.
 */
import { constants, setPriority } from 'node:os';
import { execa } from 'execa';
import { inCheckout } from '../testing/checkout.ts';
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, mibPerSecond, type Sample } from './benchmark.ts';

/** What is taken of the demo's JSON. */
interface DemoFigures {
  readonly verified: boolean;
  readonly totalTimeMs: number;
  readonly downtimeMs: number;
  readonly faults: { readonly count: number; readonly p50Us: number; readonly p99Us: number };
}

/** Reads all that an address has to say, and says how many bytes those were. */
const READER = `
  const { body } = await fetch(process.argv[1]);
  let bytes = 0;
  for await (const chunk of body) bytes += chunk.length;
  console.log(bytes);
`;

/**
 * Reads what the dashboard at `url` tells, until it ends. Resolved with how many bytes those were. Whoever looks does
 * so on a host of their own: here the reader has what the migration leaves of the processors.
 */
async function watch(url: string): Promise<number> {
  const reader = execa(process.execPath, ['--input-type=module', '-e', READER, new URL('events', url).href]);
  if (reader.pid !== undefined) setPriority(reader.pid, constants.priority.PRIORITY_LOW);
  return Number((await reader).stdout);
}

async function demo({ memoryBytes }: BenchOptions, transport: Transport, isWatched: boolean): Promise<Sample> {
  const guest = ['--guest', 'stress', '--memory', `${memoryBytes}`, '--precopy-passes', '0'];
  const args = ['demo', ...guest, '--transport', transport, '--json', ...(isWatched ? ['--dashboard'] : [])];
  const child = execa(process.execPath, [inCheckout('dist/cli/main.js'), ...args], { stdin: 'ignore' });
  let watched: Promise<number> | undefined;
  child.stderr.on('data', (chunk: Buffer) => {
    const url = /dashboard at (\S+)/.exec(chunk.toString())?.[1];
    if (url !== undefined) watched ??= watch(url);
  });
  const { stdout } = await child;
  const { verified, totalTimeMs, downtimeMs, faults } = JSON.parse(stdout.split('\n').at(-1) ?? '') as DemoFigures;
  const toldBytes = await watched;
  if (!verified || (isWatched && !toldBytes)) throw new Error('the demo was not verified, or not watched');
  return {
    throughput: mibPerSecond(memoryBytes, totalTimeMs),
    figures: {
      'p50 µs': faults.p50Us,
      'p99 µs': faults.p99Us,
      faults: faults.count,
      'downtime ms': downtimeMs,
      ...(toldBytes === undefined ? {} : { 'told KiB': toldBytes / 1024 }),
    },
  };
}

function comparisonOf(options: BenchOptions, transport: Transport): Comparison {
  return {
    name: `postcopy of a guest that writes, ${transport}`,
    contenders: [
      { name: 'no dashboard', run: () => demo(options, transport, false) },
      { name: 'no dashboard again', run: () => demo(options, transport, false) },
      { name: 'dashboard open', run: () => demo(options, transport, true) },
    ],
    baseline: 'no dashboard',
    compared: ['p99 µs'],
  };
}

export const dashboard: Benchmark = {
  name: 'dashboard',
  title: 'What a dashboard that is open costs a migration',
  open: async (options) => ({
    comparisons: options.transports.map((transport) => comparisonOf(options, transport)),
    [Symbol.asyncDispose]: async () => {},
  }),
};
