/** The RAM blocks of a guest of ours: its memory split over several, no two of one size. */
import { MigrationError } from '../errors.js';
import { TARGET_PAGE_SIZE } from '../memory/page.js';
import { type MemoryKind, RAMBlock } from '../memory/ram-block.js';

const MAX_BLOCKS = 64;

export interface BlockSettings {
  /** Bytes of RAM, all blocks together; each block is rounded up to whole host pages of its kind. */
  readonly memory: number;
  /** RAM blocks it is split over, 1 to 64, each larger than the one before where there is enough; 1 when absent. */
  readonly blocks?: number;
  /** Of every block; `anonymous` when absent. */
  readonly kind?: MemoryKind;
  /** The kinds of the blocks in turn, from the first again where there are more blocks; in place of `kind`. */
  readonly kinds?: readonly MemoryKind[];
}

/**
 * Pages of each block: one, and of the rest a share that grows with its place. No two blocks of a guest of some
 * size are of one size then, so that a mix-up of two shows.
 */
function splitPages(pages: number, blocks: number): number[] {
  const rest = Math.max(0, pages - blocks);
  const upTo = (index: number) => Math.floor((rest * index * (index + 1)) / (blocks * (blocks + 1)));
  return Array.from({ length: blocks }, (_, index) => 1 + upTo(index + 1) - upTo(index));
}

/** Maps the blocks `idstr`, `idstr.1` and so on; all or none. Throws BAD_ARGUMENT, or what mapping one throws. */
export function createBlocks(
  idstr: string,
  { memory, blocks = 1, kind = 'anonymous', kinds = [kind] }: BlockSettings,
): RAMBlock[] {
  if (!Number.isInteger(blocks) || blocks < 1 || blocks > MAX_BLOCKS || kinds.length === 0) {
    throw new MigrationError('BAD_ARGUMENT', `a guest of ${blocks} blocks of ${kinds.length} kinds`, {
      hint: `use 1 to ${MAX_BLOCKS} blocks and at least one kind`,
    });
  }
  if (!Number.isSafeInteger(memory) || memory <= 0) {
    throw new MigrationError('BAD_ARGUMENT', `a guest of ${memory} bytes`, { hint: 'give a whole number above 0' });
  }
  const created: RAMBlock[] = [];
  try {
    for (const [index, pages] of splitPages(Math.ceil(memory / TARGET_PAGE_SIZE), blocks).entries()) {
      const name = index === 0 ? idstr : `${idstr}.${index}`;
      created.push(RAMBlock.create({ idstr: name, size: pages * TARGET_PAGE_SIZE, kind: kinds[index % kinds.length] }));
    }
    return created;
  } catch (error) {
    for (const block of created) block.close();
    throw error;
  }
}
