/**
 * Blocks whose host pages hold several target pages, such as hugepages. The kernel places whole host
 * pages, so the target pages of one are put together in a temporary page first. One for each connection that
 * brings pages.
 *
 * A source sends the target pages of a host page in order, without a gap, and all of one host page of
 * such blocks before another. Pages of other blocks may come in between: they have no part in this.
 */
import { MigrationError } from '../errors.js';
import type { PageBitmap } from '../memory/bitmap.js';
import { pageCount, pageIndexOf, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { PageRecord } from '../wire/messages.js';
import { contentKind } from './page-collector.js';

/** Where whole host pages go. Numbers of host pages count pages of the block's page size. */
export interface HostPageInstaller {
  /** `content` holds the page from its begin, until this returns. */
  hostPage(blockIndex: number, hostPage: number, content: Uint8Array): void;
  zeroHostPage(blockIndex: number, hostPage: number): void;
}

export class HostPageAssembly {
  /** Target pages in a host page, by block. */
  readonly #pagesPerHostPage: readonly number[];
  readonly #installer: HostPageInstaller;
  /** Made at the first page: few guests have such blocks. */
  #temporary: Uint8Array | undefined;
  #blockIndex = -1;
  #hostPage = -1;
  /** Target pages of it that are here; 0: none is being put together. */
  #filled = 0;
  #isZero = true;

  /** `pageSizes`: bytes of a host page, by block. */
  constructor(pageSizes: readonly number[], installer: HostPageInstaller) {
    this.#pagesPerHostPage = pageSizes.map(pageCount);
    this.#installer = installer;
  }

  /** Whether pages of that block are put together here. */
  takes(blockIndex: number): boolean {
    return this.#pagesPerHostPage[blockIndex] > 1;
  }

  /**
   * Adds a target page whose content, if it has any, lies in `bytes`; the last one of its host page has that
   * installed. Throws STREAM_CORRUPT for a page that does not come next.
   */
  add(record: PageRecord, bytes: Uint8Array, recordOffset: number): void {
    const kind = contentKind(record, recordOffset);
    const { block, fill, dataStart } = record;
    const perHostPage = this.#pagesPerHostPage[block.index];
    const page = pageIndexOf(record.offset);
    const hostPage = Math.floor(page / perHostPage);
    if (this.#filled === 0) this.#begin(block.index, hostPage);
    const isNext = block.index === this.#blockIndex && page === this.#hostPage * perHostPage + this.#filled;
    if (!isNext) throw this.#outOfOrder(record, page, recordOffset);
    const at = this.#filled * TARGET_PAGE_SIZE;
    const temporary = this.#page();
    if (kind === 'zero') temporary.fill(fill, at, at + TARGET_PAGE_SIZE);
    else temporary.set(bytes.subarray(dataStart, dataStart + TARGET_PAGE_SIZE), at);
    this.#isZero &&= kind === 'zero' && fill === 0;
    this.#filled += 1;
    if (this.#filled === perHostPage) this.#install();
  }

  #begin(blockIndex: number, hostPage: number): void {
    this.#blockIndex = blockIndex;
    this.#hostPage = hostPage;
    this.#isZero = true;
  }

  #install(): void {
    this.#filled = 0;
    if (this.#isZero) this.#installer.zeroHostPage(this.#blockIndex, this.#hostPage);
    else this.#installer.hostPage(this.#blockIndex, this.#hostPage, this.#page());
  }

  #page(): Uint8Array {
    this.#temporary ??= new Uint8Array(Math.max(...this.#pagesPerHostPage) * TARGET_PAGE_SIZE);
    return this.#temporary;
  }

  #outOfOrder({ block }: PageRecord, page: number, offset: number): MigrationError {
    const next = this.#hostPage * this.#pagesPerHostPage[this.#blockIndex] + this.#filled;
    const whose = block.index === this.#blockIndex ? '' : ', of another block,';
    return new MigrationError(
      'STREAM_CORRUPT',
      `page ${page} of RAM block ${block.idstr} at offset ${offset} out of order: ` +
        `host page ${this.#hostPage}${whose} goes on with page ${next}`,
      { offset, record: 'page' },
    );
  }
}

/**
 * The number of the first host page of which some target pages are set and some are not, or -1. In a list
 * of received pages there must be none at LISTEN: what is mapped in part does not fault.
 */
export function findPartialHostPage(pages: PageBitmap, pageSize: number): number {
  const perHostPage = pageCount(pageSize);
  let first = 0;
  while (first < pages.pageCount) {
    const change = pages.test(first) ? pages.findNextClear(first) : pages.findNext(first);
    if (change < pages.pageCount && change % perHostPage !== 0) return Math.floor(change / perHostPage);
    first = change;
  }
  return -1;
}
