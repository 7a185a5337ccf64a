/** One migration with a stopwatch: what every sample of one is made of. */
import { GIB, mibPerSecond, type Sample } from './benchmark.ts';
import { startCpuMeter } from './cpu-time.ts';

export interface Ends {
  readonly source: { readonly pid: number };
  readonly destination: { readonly pid: number };
}

const secondsPerGib = (ms: number, bytes: number): number => ms / 1000 / (bytes / GIB);

/** Has `migrate` move `bytes` of RAM. It resolves once both ends have completed, with figures of its own. */
export async function timedMigration(
  bytes: number,
  { source, destination }: Ends,
  migrate: () => Promise<Sample['figures']>,
): Promise<Sample> {
  const stopCpuMeter = startCpuMeter({ source: source.pid, destination: destination.pid });
  const startMs = performance.now();
  const figures = await migrate();
  const wallMs = performance.now() - startMs;
  const cpuMs = stopCpuMeter();
  const cpu = {
    'source cpu s/GiB': secondsPerGib(cpuMs.source, bytes),
    'destination cpu s/GiB': secondsPerGib(cpuMs.destination, bytes),
  };
  return { throughput: mibPerSecond(bytes, wallMs), figures: { 'wall ms': wallMs, ...cpu, ...figures } };
}
