/**
 * The ordered set of RAM blocks of one guest, with the two look-ups a migration needs: by name, for
 * what a peer says, and by host address, for what the kernel says. A miss is an answer, not an error.
 */
import { MigrationError } from '../errors.js';
import type { RAMBlockDescriptor } from './ram-block.js';

/**
 * The largest host page in postcopy. A fault holds the guest until its whole page has come: for 2 MiB that is
 * 2 ms at 10 Gbit/s, for 1 GiB it would be a second.
 */
export const POSTCOPY_PAGE_SIZE_MAX = 64 * 1024 * 1024;

export interface RAMPosition<Block extends RAMBlockDescriptor> {
  readonly block: Block;
  /** The block's place in the list. */
  readonly index: number;
  /** Bytes from the block's begin. */
  readonly offset: number;
}

export interface RAMRange<Block extends RAMBlockDescriptor> extends RAMPosition<Block> {
  readonly length: number;
}

export class RAMList<Block extends RAMBlockDescriptor = RAMBlockDescriptor> {
  readonly #byName: ReadonlyMap<string, number>;

  /** Throws BAD_ARGUMENT if there is no block or two have one name. */
  constructor(readonly blocks: readonly Block[]) {
    this.#byName = new Map(blocks.map((block, index) => [block.idstr, index]));
    if (blocks.length === 0) throw new MigrationError('BAD_ARGUMENT', 'the guest has no RAM blocks');
    if (this.#byName.size !== blocks.length) {
      throw new MigrationError('BAD_ARGUMENT', 'two RAM blocks of the guest have one name');
    }
  }

  /** Bytes of all blocks. */
  get size(): number {
    return this.blocks.reduce((sum, block) => sum + block.size, 0);
  }

  /** The bitwise or of all host page sizes, as POSTCOPY_ADVISE carries it (docs/protocol.md). */
  get pageSizeSummary(): number {
    return this.blocks.reduce((summary, block) => summary | block.pageSize, 0);
  }

  /** Throws UNSUPPORTED if a block has host pages too large for postcopy. */
  requirePostcopyPageSizes(): void {
    const large = this.blocks.find(({ pageSize }) => pageSize > POSTCOPY_PAGE_SIZE_MAX);
    if (large === undefined) return;
    throw new MigrationError(
      'UNSUPPORTED',
      `RAM block ${large.idstr} has host pages of ${large.pageSize} bytes, and a fault would hold the guest until ` +
        `all of one has come; postcopy takes at most ${POSTCOPY_PAGE_SIZE_MAX}`,
      { hint: 'use hugepages of 2 MiB, or move this guest without postcopyRam' },
    );
  }

  /** The index of the block of that name, or -1. */
  indexOf(idstr: string): number {
    return this.#byName.get(idstr) ?? -1;
  }

  /** The parts of blocks that a range of host addresses covers, in bytes from each block's begin. */
  intersections(address: number, length: number): RAMRange<Block>[] {
    return this.blocks.flatMap((block, index) => {
      const start = Math.max(address, block.address);
      const end = Math.min(address + length, block.address + block.size);
      return start < end ? [{ block, index, offset: start - block.address, length: end - start }] : [];
    });
  }

  /** Where a host address lies, or undefined if in no block. */
  fromHost(address: number): RAMPosition<Block> | undefined {
    const index = this.blocks.findIndex((block) => address >= block.address && address < block.address + block.size);
    if (index < 0) return undefined;
    const block = this.blocks[index];
    return { block, index, offset: address - block.address };
  }
}
