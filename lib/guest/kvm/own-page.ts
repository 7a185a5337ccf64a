/**
 * The page that each vCPU of a KVM guest has to itself: what its programme is to do, what it has done, and its stack
 * at the end. native/kvm_guest_code.S has the same offsets. Pure.
 */
import { TARGET_PAGE_SIZE } from '../../memory/page.js';

/** Offsets of its words; DONE is a pair. */
const FIRST = 0x00;
const END = 0x04;
const INTERVAL = 0x08;
const REPORT = 0x0c;
const DONE = 0x10;
const BAD_PAGES = 0x18;
const LOST_WRITES = 0x1c;
const PAGES = 0x2c;
const MASK = 0x30;
const MAX_CYCLES = 0x34;
const HISTOGRAM = 0x200;
/** Words of the histogram. */
export const HISTOGRAM_BUCKETS = 128;
/** As far as it holds words. */
export const OWN_PAGE_WORDS_BYTES = HISTOGRAM + 4 * HISTOGRAM_BUCKETS;

/** What a vCPU is to do. Addresses are the guest's, of whole pages. */
export interface VcpuTask {
  readonly first: number;
  /** Behind the last page. */
  readonly end: number;
  /** TSC cycles from one page to the next, below 2^27; 0 is as fast as it goes. */
  readonly interval: number;
  /** Passes from one line of output to the next; 0 is none. */
  readonly report: number;
}

/** What it has done. */
export interface VcpuProgress {
  readonly done: number;
  readonly badPages: number;
  readonly lostWrites: number;
  readonly maxCycles: number;
  readonly histogram: Uint32Array;
}

export function encodeOwnPage({ first, end, interval, report }: VcpuTask): Uint8Array {
  const bytes = new Uint8Array(OWN_PAGE_WORDS_BYTES);
  const view = new DataView(bytes.buffer);
  const pages = (end - first) / TARGET_PAGE_SIZE;
  const words: readonly [number, number][] = [
    [FIRST, first],
    [END, end],
    [INTERVAL, interval],
    [REPORT, report],
    [PAGES, pages],
    [MASK, 2 ** Math.ceil(Math.log2(Math.max(1, pages))) - 1],
  ];
  for (const [offset, word] of words) view.setUint32(offset, word, true);
  return bytes;
}

export function decodeProgress(bytes: Uint8Array): VcpuProgress {
  const view = new DataView(bytes.buffer, bytes.byteOffset, OWN_PAGE_WORDS_BYTES);
  const word = (offset: number): number => view.getUint32(offset, true);
  return {
    done: word(DONE) + word(DONE + 4) * 2 ** 32,
    badPages: word(BAD_PAGES),
    lostWrites: word(LOST_WRITES),
    maxCycles: word(MAX_CYCLES),
    histogram: Uint32Array.from({ length: HISTOGRAM_BUCKETS }, (_, bucket) => word(HISTOGRAM + 4 * bucket)),
  };
}
