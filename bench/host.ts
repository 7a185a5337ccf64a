/** What a benchmark ran on, in general terms: figures without it mean nothing. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { QEMU } from '../testing/qemu/qemu-process.ts';
import { MIB } from './benchmark.ts';

export interface Host {
  readonly cores: number;
  readonly processor: string;
  readonly memoryMib: number;
  readonly kernel: string;
  readonly transparentHugepages: string;
  readonly node: string;
  readonly qemu: string;
}

export function describeHost(): Host {
  return {
    cores: availableParallelism(),
    processor: cpus()[0]?.model ?? 'unknown',
    memoryMib: Math.round(totalmem() / MIB),
    kernel: release().replace(/-.*/, ''),
    transparentHugepages: transparentHugepages(),
    node: process.versions.node,
    qemu: qemuVersion(),
  };
}

function transparentHugepages(): string {
  try {
    const text = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8');
    return /\[(\w+)\]/.exec(text)?.[1] ?? 'unknown';
  } catch {
    return 'none';
  }
}

function qemuVersion(): string {
  const { stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  const version = /version (\d+(?:\.\d+)*)/.exec(stdout ?? '')?.[1];
  if (version === undefined) throw new Error(`${QEMU} is missing: install the package "qemu-system-x86"`);
  return version;
}
