/** RAM pages as they come: how many records of each kind, in all and a block, and how many different pages. */
import type { PageKind, RamBlockEntry } from '../wire/messages.js';
import { DEFAULT_TARGET_PAGE_SIZE } from '../wire/protocol.js';
import { pieceBudget, SeenPages } from './seen-pages.js';

export type PageCounts = { [Kind in PageKind]: number };

export const noPages = (): PageCounts => ({ normal: 0, zero: 0, xbzrle: 0, compressed: 0 });

export interface BlockInspection {
  readonly idstr: string;
  /** Null where no block list told it. */
  readonly usedLength: number | null;
  /** Where the stream gives it, as for huge pages. */
  readonly pageSize: number | null;
  /** With x-ignore-shared: the guest physical address. */
  readonly address: number | null;
  /** Target pages of the block. */
  readonly pages: number | null;
  /** Different pages sent; null where there were too many to count. */
  readonly distinct: number | null;
  /** Page records, by kind. */
  readonly records: PageCounts;
  readonly discards: { readonly ranges: number; readonly bytes: number };
}

interface BlockTally {
  readonly entry: Omit<RamBlockEntry, 'usedLength'> & { readonly usedLength: number | null };
  readonly seen: SeenPages;
  readonly records: PageCounts;
  readonly discards: { ranges: number; bytes: number };
}

export class RamTally {
  targetPageSize = DEFAULT_TARGET_PAGE_SIZE;
  /** Page records of all blocks. */
  readonly pages = noPages();
  readonly #budget = pieceBudget();
  /** At their index in the block list. */
  readonly #blocks: BlockTally[] = [];
  readonly #byName = new Map<string, BlockTally>();

  addBlock(entry: BlockTally['entry']): BlockTally {
    const tally = {
      entry,
      seen: new SeenPages(this.#budget),
      records: noPages(),
      discards: { ranges: 0, bytes: 0 },
    };
    this.#blocks[entry.index] = tally;
    this.#byName.set(entry.idstr, tally);
    return tally;
  }

  /** A page of the block at `blockIndex` in the block list. */
  page(blockIndex: number, offset: number, kind: PageKind): void {
    this.#count(this.#blocks[blockIndex], offset, kind);
  }

  /** A page of a block that needs not be in a block list. */
  pageOf(idstr: string, offset: number, kind: PageKind): void {
    this.#count(this.#byName.get(idstr) ?? this.#addUnlisted(idstr), offset, kind);
  }

  discard(idstr: string, ranges: number, bytes: number): void {
    const { discards } = this.#byName.get(idstr) ?? this.#addUnlisted(idstr);
    discards.ranges += ranges;
    discards.bytes += bytes;
  }

  blocks(): BlockInspection[] {
    return this.#blocks.map(({ entry, seen, records, discards }) => ({
      idstr: entry.idstr,
      usedLength: entry.usedLength,
      pageSize: entry.pageSize ?? null,
      address: entry.address ?? null,
      pages: entry.usedLength === null ? null : entry.usedLength / this.targetPageSize,
      distinct: seen.distinct,
      records,
      discards,
    }));
  }

  #addUnlisted(idstr: string): BlockTally {
    return this.addBlock({ index: this.#blocks.length, idstr, usedLength: null });
  }

  #count(block: BlockTally, offset: number, kind: PageKind): void {
    block.records[kind]++;
    this.pages[kind]++;
    block.seen.add(offset / this.targetPageSize);
  }
}
