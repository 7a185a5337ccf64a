/**
 * Dirty tracking by the hypervisor: KVM knows what its vCPUs write. What this process writes to the machine's memory it
 * does not, so that is for machines whose devices are all in the kernel, or write nothing.
 *
 * A discard is a write of zeroes that KVM does not see either: every page that is not mapped is taken for written, as
 * with shared memory in dirty-log.ts.
 *
 * Used by the migration thread alone.
 */
import { type KvmMachineHandle, native } from '../native.js';
import type { PageBitmap } from './bitmap.js';
import { TARGET_PAGE_SIZE } from './page.js';
import type { RAMBlockDescriptor } from './ram-block.js';

export class KvmDirtyLog {
  readonly #machine: KvmMachineHandle;
  readonly #blocks: readonly RAMBlockDescriptor[];

  private constructor(machine: KvmMachineHandle, blocks: readonly RAMBlockDescriptor[]) {
    this.#machine = machine;
    this.#blocks = blocks;
  }

  /** Begins to log writes to the blocks, which must be all of that machine in its order. Throws EBUSY if it does. */
  static start(blocks: readonly RAMBlockDescriptor[], machine: KvmMachineHandle): KvmDirtyLog {
    native().kvmLogWrites(machine, 1);
    return new KvmDirtyLog(machine, blocks);
  }

  /** Adds to `dirty[i]` the pages of block i written since the last sync, and those that are not mapped. */
  sync(dirty: readonly PageBitmap[]): number {
    const { kvmHarvestDirtyPages, findAbsentPages, hasPagemapScan } = native();
    const tellsAbsent = hasPagemapScan();
    let found = 0;
    for (const [index, { handle, size }] of this.#blocks.entries()) {
      const { words } = dirty[index];
      found += kvmHarvestDirtyPages(this.#machine, index, words);
      if (tellsAbsent) found += findAbsentPages(handle, 0, size, TARGET_PAGE_SIZE, words);
    }
    return found;
  }

  stop(): void {
    native().kvmLogWrites(this.#machine, 0);
  }
}
