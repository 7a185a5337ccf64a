/**
 * What clients of QMP cost a migration: two hosts that are told to migrate by postcopy, with no client beside the one
 * that tells them, and with twenty at each that send as fast as is taken and never read.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inCheckout } from '../testing/checkout.ts';
import { PostcopyHost } from '../testing/postcopy-host.ts';
import type { Transport } from '../testing/qemu/migrate.ts';
import { type Benchmark, type BenchOptions, type Comparison, mibPerSecond, type Sample } from './benchmark.ts';

/** What they send: testing/qmp-flood.mjs. */
const floods = ['garbage', 'requests', 'endless'] as const;
const CLIENTS = 20;

type Flood = (typeof floods)[number];

/** Hostile clients of the hosts at these paths, once all of them flood. */
async function startFloods(paths: readonly string[], flood: Flood): Promise<AsyncDisposable> {
  const children = paths.map((path) =>
    spawn(process.execPath, [inCheckout('testing/qmp-flood.mjs'), path, flood, String(CLIENTS)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    }),
  );
  await Promise.all(children.map(({ stdout }) => once(stdout, 'data')));
  return {
    [Symbol.asyncDispose]: async () => {
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(children.map((child) => once(child, 'close')));
    },
  };
}

async function migrate({ memoryBytes }: BenchOptions, transport: Transport, flood?: Flood): Promise<Sample> {
  const folder = mkdtempSync(join(tmpdir(), 'postcopy-bench-'));
  const uri = transport === 'unix' ? `unix:${folder}/m` : 'tcp:127.0.0.1:0';
  const guest = ['--guest', 'stress', '--memory', String(memoryBytes)];
  try {
    await using destination = await PostcopyHost.start(`${folder}/d`, ...guest, '--incoming', 'defer');
    await using source = await PostcopyHost.start(`${folder}/s`, ...guest);
    const ends = [destination.qmp, source.qmp];
    const capabilities = ['events', 'postcopy-ram'].map((capability) => ({ capability, state: true }));
    for (const end of ends) await end.execute('migrate-set-capabilities', { capabilities });
    await source.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    await destination.qmp.execute('migrate-incoming', { uri });
    const {
      'socket-address': [at],
    } = await destination.qmp.execute<{ 'socket-address': { port?: string }[] }>('query-migrate');
    await using _clients = flood && (await startFloods([`${folder}/d`, `${folder}/s`], flood));
    await source.qmp.execute('migrate', { uri: at.port === undefined ? uri : `tcp:127.0.0.1:${at.port}` });
    await source.qmp.execute('migrate-start-postcopy');
    for (const end of ends) await end.event('MIGRATION', ({ status }) => status === 'completed');
    type Answer = { 'total-time': number; downtime: number };
    const { 'total-time': totalMs, downtime } = await source.qmp.execute<Answer>('query-migrate');
    return {
      throughput: mibPerSecond(memoryBytes, totalMs),
      figures: { 'total ms': totalMs, 'downtime ms': downtime },
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function comparisonOf(options: BenchOptions, transport: Transport): Comparison {
  const alone = 'nobody else';
  return {
    name: `postcopy of a guest that writes, ${transport}`,
    contenders: [
      { name: alone, run: () => migrate(options, transport) },
      ...floods.map((flood) => ({
        name: `${CLIENTS} clients: ${flood}`,
        run: () => migrate(options, transport, flood),
      })),
    ],
    baseline: alone,
    compared: ['downtime ms'],
  };
}

export const qmp: Benchmark = {
  name: 'qmp',
  title: 'What hostile QMP clients cost a migration',
  open: async (options) => ({
    comparisons: options.transports.map((transport) => comparisonOf(options, transport)),
    [Symbol.asyncDispose]: async () => {},
  }),
};
