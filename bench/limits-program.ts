/** What this host can do at most, by a programme in C++ (native/limits.cc): built when it is first wanted, and run. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { execa } from 'execa';
import { inCheckout } from '../testing/checkout.ts';
import type { Transport } from '../testing/qemu/migrate.ts';

/** Bytes a second; of what goes by chunks, by the bytes of one. */
export interface MemoryRates {
  /** UFFDIO_COPY from a buffer of 2 MiB. */
  readonly copy: Readonly<Record<string, number>>;
  readonly zeropage: Readonly<Record<string, number>>;
  /** From the same buffer to memory that is there. */
  readonly memcpy: number;
  /** Looking for what is not zero, in memory that is zero. */
  readonly read: number;
}

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

/** With that much memory. */
export async function measureMemory(bytes: number): Promise<MemoryRates> {
  return (await run('memory', bytes)) as MemoryRates;
}

/** Bytes a second between two processes that send and receive 1 MiB at once, over that many bytes. */
export async function measureSocket(transport: Transport, bytes: number): Promise<number> {
  return ((await run('socket', transport, bytes)) as { readonly socket: number }).socket;
}

/** Of `local` faults another thread has the page; else it asks another process for it over that transport. */
export async function measureFaults(place: 'local' | Transport, count: number): Promise<FaultTimes> {
  return (await run('fault', place, count)) as FaultTimes;
}
