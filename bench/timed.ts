/** One migration with a stopwatch: what every sample of one is made of. */
import { mibPerSecond, type Sample } from './benchmark.ts';
import { startCpuMeter } from './cpu-time.ts';

export interface Ends {
  readonly source: { readonly pid: number };
  readonly destination: { readonly pid: number };
}

/** Has `migrate` move `bytes` of RAM. It resolves once both ends have completed, with figures of its own. */
export async function timedMigration(
  bytes: number,
  { source, destination }: Ends,
  migrate: () => Promise<Sample['figures']>,
): Promise<Sample> {
  const cpu = startCpuMeter({ 'source cpu ms': source.pid, 'destination cpu ms': destination.pid });
  const startMs = performance.now();
  const figures = await migrate();
  const wallMs = performance.now() - startMs;
  return { throughput: mibPerSecond(bytes, wallMs), figures: { 'wall ms': wallMs, ...cpu(), ...figures } };
}
