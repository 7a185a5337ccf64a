/** What this host can do at most, by a programme in C++ (native/limits.cc). */
import { freemem } from 'node:os';
import { execa } from 'execa';
import type { Transport } from '../testing/qemu/migrate.ts';
import { nativeProgram } from './native-program.ts';
import type { Quantiles } from './statistics.ts';

/**
 * UFFDIO_COPY and memcpy from a buffer of 2 MiB, the latter to memory that is there; UFFDIO_ZEROPAGE; looking for what
 * is not zero in memory that is.
 */
export type Rate = 'copy' | 'zeropage' | 'memcpy' | 'read';

/** Of page faults one after the other: how many a second, and from the touch to when it went on. */
export interface FaultTimes extends Quantiles {
  readonly perSecond: number;
}

async function run(...args: readonly (string | number)[]): Promise<unknown> {
  const { stdout } = await execa(await nativeProgram('limits'), args.map(String));
  return JSON.parse(stdout);
}

const bytesPerSecond = async (...args: readonly (string | number)[]): Promise<number> =>
  ((await run(...args)) as { readonly bytesPerSecond: number }).bytesPerSecond;

/** Bytes a second, with `chunk` bytes at once, 2 MiB at most, over `bytes` of memory. */
export function measureRate(what: Rate, chunk: number, bytes: number): Promise<number> {
  return bytesPerSecond('rate', what, chunk, bytes);
}

/** Bytes a second between two processes that send and receive 1 MiB at once, over that many bytes. */
export function measureSocket(transport: Transport, bytes: number): Promise<number> {
  return bytesPerSecond('socket', transport, bytes);
}

/** Of `local` faults another thread has the page; else it asks another process for it over that transport. */
export async function measureFaults(place: 'local' | Transport, count: number): Promise<FaultTimes> {
  return (await run('fault', place, count)) as FaultTimes;
}

/**
 * Has `bytes` of free memory made present, so that who allocates next does not wait for a hypervisor that has taken it
 * back: what that costs depends on whose memory it was before, and not on who is measured.
 */
export async function warmMemory(bytes: number): Promise<void> {
  await run('warm', Math.min(bytes, Math.floor(freemem() / 2)));
}
