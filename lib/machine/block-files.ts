/** The file of each RAM block in a saved machine's directory: its name, and what of it is worth writing. Pure. */
import { TARGET_PAGE_SIZE } from '../memory/page.js';

/** What of a block's name is kept in its file's; the number alone tells two blocks apart. */
const KEPT_CHARACTERS = 100;

/** `00-pc.ram.ram`, `03-0000_00_02.0_vga.vram.ram`: no two are the same, whatever the blocks are called. */
export function blockFileNames(idstrs: readonly string[]): string[] {
  return idstrs.map((idstr, index) => {
    const name = idstr.replace(/[^A-Za-z0-9._-]/g, '_').slice(0, KEPT_CHARACTERS);
    return `${String(index).padStart(2, '0')}-${name}.ram`;
  });
}

const zeroes = Buffer.alloc(TARGET_PAGE_SIZE);

/**
 * Calls `run` for each longest run of pages in bytes[0, length) that are not all zero: the rest is what memory and
 * a sparse file hold anyway. `length` is whole pages.
 */
export function forDataRuns(bytes: Buffer, length: number, run: (start: number, end: number) => void): void {
  let start = -1;
  for (let at = 0; at < length; at += TARGET_PAGE_SIZE) {
    const isZero = bytes.compare(zeroes, 0, TARGET_PAGE_SIZE, at, at + TARGET_PAGE_SIZE) === 0;
    if (isZero && start >= 0) run(start, at);
    if (isZero) start = -1;
    else if (start < 0) start = at;
  }
  if (start >= 0) run(start, length);
}
