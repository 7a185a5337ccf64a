/** The log of what a guest writes to its RAM while it migrates, whoever keeps it. Migration thread only. */
import type { KvmMachineHandle } from '../native.js';
import type { PageBitmap } from './bitmap.js';
import { DirtyLog } from './dirty-log.js';
import { KvmDirtyLog } from './kvm-dirty-log.js';
import type { RAMBlockDescriptor } from './ram-block.js';

/** One that is kept by other means than write protection. Plain data: it crosses to the migration thread. */
export interface WriteLogDescriptor {
  readonly kind: 'kvm';
  readonly machine: KvmMachineHandle;
}

export interface WriteLog {
  /** Adds to `dirty[i]` the pages of block i written or discarded since the last sync. Returns how many were found. */
  sync(dirty: readonly PageBitmap[]): number;
  stop(): void;
}

/** Begins to log writes to all blocks; by asynchronous write protection where there is no descriptor. */
export function startWriteLog(
  blocks: readonly RAMBlockDescriptor[],
  descriptor: WriteLogDescriptor | undefined,
): WriteLog {
  return descriptor === undefined ? DirtyLog.start(blocks) : KvmDirtyLog.start(blocks, descriptor.machine);
}
