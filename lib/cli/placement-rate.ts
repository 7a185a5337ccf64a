/** How fast this host places pages with UFFDIO_COPY, with nothing else going on: what no postcopy can exceed. */
import { RAMBlock } from '../memory/ram-block.js';
import { openUserfaultfd } from '../memory/userfaultfd.js';
import { native } from '../native.js';

/** Pages of one call: neighbours, which go in one ioctl. */
const PAGES_AT_ONCE = 64;

/** Bytes a second, over `bytes` of memory. Throws the errors of {@link openUserfaultfd}. */
export function measurePlacementRate(bytes: number): number {
  const { constants: c, monotonicUs, placePages, ramBlockAdvise, userfaultfdClose, userfaultfdRegister } = native();
  const pageSize = c.HOST_PAGE_SIZE;
  const uffd = openUserfaultfd(0n);
  const block = RAMBlock.create({ idstr: 'bench.ram', size: bytes });
  try {
    ramBlockAdvise(block.handle, c.MADV_NOHUGEPAGE, 0, block.size);
    userfaultfdRegister(uffd.handle, block.handle, 0, block.size, c.UFFDIO_REGISTER_MODE_MISSING);
    const arena = new Uint8Array(PAGES_AT_ONCE * pageSize).fill(1);
    const offsets = Uint32Array.from({ length: PAGES_AT_ONCE }, (_, index) => index * pageSize);
    const pages = new Uint32Array(PAGES_AT_ONCE);
    const outcomes = new Uint8Array(PAGES_AT_ONCE);
    const total = block.size / pageSize;
    const startUs = monotonicUs();
    for (let first = 0; first < total; first += PAGES_AT_ONCE) {
      const count = Math.min(PAGES_AT_ONCE, total - first);
      for (let index = 0; index < count; index += 1) pages[index] = first + index;
      placePages(uffd.handle, block.handle, pageSize, pages, count, arena, offsets, 0, outcomes);
    }
    return block.size / ((monotonicUs() - startUs) / 1e6);
  } finally {
    block.close();
    userfaultfdClose(uffd.handle);
  }
}
