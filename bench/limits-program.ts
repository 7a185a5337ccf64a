/** What this host can do at most, by a programme in C++ (native/limits.cc): built when it is first wanted, and run. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { execa } from 'execa';
import { inCheckout } from '../testing/checkout.ts';
import type { Transport } from '../testing/qemu/migrate.ts';

/**
 * UFFDIO_COPY and memcpy from a buffer of 2 MiB, the latter to memory that is there; UFFDIO_ZEROPAGE; looking for what
 * is not zero in memory that is.
 */
export type Rate = 'copy' | 'zeropage' | 'memcpy' | 'read';

/** Of page faults one after the other: how many a second, and microseconds from the touch to when it went on. */
export interface FaultTimes {
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly mostUs: number;
}

const FLAGS = ['-std=c++20', '-O3', '-Wall', '-Wextra', '-Werror', '-pthread'];

async function build(): Promise<string> {
  const source = inCheckout('bench/native/limits.cc');
  const folder = inCheckout('build-bench/');
  const version = createHash('sha256')
    .update(await readFile(source))
    .update(FLAGS.join())
    .digest('hex')
    .slice(0, 16);
  const path = `${folder}limits-${version}`;
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const made = `${path}.${process.pid}`;
  await execa('g++', [...FLAGS, '-o', made, source]);
  await rename(made, path);
  return path;
}

let built: Promise<string> | undefined;

async function run(...args: readonly (string | number)[]): Promise<unknown> {
  built ??= build();
  const { stdout } = await execa(await built, args.map(String));
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
