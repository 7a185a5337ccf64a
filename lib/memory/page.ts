/**
 * Page arithmetic: the only conversions between bytes and pages. Index, count and size never mix:
 * a name ends in what it holds. Any thread.
 */

/** Bytes of a target page: the unit of the stream and of every bitmap. x86-64's, as QEMU's TARGET_PAGE_SIZE. */
export const TARGET_PAGE_SIZE = 4096;

/** Bytes of memory that one entry of a higher page table maps: x86-64's, and what transparent huge pages are. */
export const HUGE_PAGE_SIZE = 2 * 1024 * 1024;
/** Target pages of one. */
export const HUGE_PAGE_PAGES = HUGE_PAGE_SIZE / TARGET_PAGE_SIZE;

/** How many target pages `bytes` fill. `bytes` must be whole pages. */
export function pageCount(bytes: number): number {
  if (bytes % TARGET_PAGE_SIZE !== 0) throw new RangeError(`${bytes} bytes are not whole pages of ${TARGET_PAGE_SIZE}`);
  return bytes / TARGET_PAGE_SIZE;
}

/** The byte offset at which target page `pageIndex` begins. */
export function pageOffset(pageIndex: number): number {
  return pageIndex * TARGET_PAGE_SIZE;
}

/** The target page that holds byte `offset`. */
export function pageIndexOf(offset: number): number {
  return Math.floor(offset / TARGET_PAGE_SIZE);
}

/** `offset` rounded down to a multiple of `pageSize`. */
export function alignDown(offset: number, pageSize: number): number {
  return offset - (offset % pageSize);
}

/** `offset` rounded up to a multiple of `pageSize`. */
export function alignUp(offset: number, pageSize: number): number {
  return alignDown(offset + pageSize - 1, pageSize);
}
