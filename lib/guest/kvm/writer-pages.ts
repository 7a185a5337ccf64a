/**
 * What the pages of a KVM guest hold that runs the programme `writer` (native/kvm_guest_code.S), followed from its
 * registers alone, and what is wrong with one that holds something else. Pure.
 */
import { TARGET_PAGE_SIZE } from '../../memory/page.js';

const KEY = 0x9e37_79b1;
const PAGE_WORDS = TARGET_PAGE_SIZE / 4;
/** Between the words that are written; the others stay 0. */
const STRIDE_WORDS = 128;
const WRITTEN_WORDS = PAGE_WORDS / STRIDE_WORDS;
/** What memory is filled with, before the programme begins. */
export const FILL_PASS = 1;

/** What the words of a page hold after a pass. */
export const pageKey = (address: number, pass: number): number => (Math.imul(KEY, pass) ^ address) >>> 0;

/** How far a vCPU is, as its registers have it. */
export interface WriterPlace {
  /** The pass it is in, from 2. */
  readonly pass: number;
  /** The page it is at: those before have that pass, those behind the one before. */
  readonly page: number;
  /** Words of that page which have it already. */
  readonly words: number;
}

/** Offsets in `struct kvm_regs`; the low halves are the registers of 32 bits. */
const EBX = 8;
const ESI = 32;
const EDI = 40;

/** From `struct kvm_regs`. `first`: the vCPU's first page. */
export function writerPlace(registers: Uint8Array, first: number): WriterPlace {
  const view = new DataView(registers.buffer, registers.byteOffset, registers.byteLength);
  const page = view.getUint32(EBX, true);
  if (page < first) return { pass: FILL_PASS + 1, page: first, words: 0 }; // it has not begun
  const ahead = view.getUint32(EDI, true) - page;
  const words = Math.min(WRITTEN_WORDS, Math.max(0, Math.ceil(ahead / (4 * STRIDE_WORDS))));
  return { pass: view.getUint32(ESI, true), page, words };
}

/** Writes what a page holds after a pass to word `at` and on; `next` words of it are a pass further. */
export function fillPage(target: Uint32Array, at: number, address: number, pass: number, next = 0): void {
  target.fill(0, at, at + PAGE_WORDS);
  for (let word = 0; word < WRITTEN_WORDS; word += 1) {
    target[at + word * STRIDE_WORDS] = pageKey(address, word < next ? pass + 1 : pass);
  }
}

export type PageState = 'good' | 'lost' | 'stale' | 'torn';

export interface PageFinding {
  readonly state: PageState;
  /** Passes over it that are missing, the fill included; at least 1 of a torn one. */
  readonly lostWrites: number;
}

const good: PageFinding = { state: 'good', lostWrites: 0 };

/** Inverse of KEY modulo 2^32: the pass that a page's word is of. */
const KEY_INVERSE = 0x0e8b_2f51;
const passOf = (address: number, word: number): number => Math.imul(KEY_INVERSE, word ^ address) >>> 0;

function isOf(words: Uint32Array, at: number, expected: (word: number) => number): boolean {
  for (let word = 0; word < PAGE_WORDS; word += 1) {
    const due = word % STRIDE_WORDS === 0 ? expected(word / STRIDE_WORDS) : 0;
    if (words[at + word] !== due) return false;
  }
  return true;
}

/** Compares a page, all of it, with what it must hold: `pass` (0: zeroes), and `next` words of it a pass further. */
export function examinePage(words: Uint32Array, at: number, address: number, pass: number, next = 0): PageFinding {
  const due = pageKey(address, pass);
  const ahead = pageKey(address, pass + 1);
  if (isOf(words, at, (word) => (pass === 0 ? 0 : word < next ? ahead : due))) return good;
  const last = next > 0 ? pass + 1 : pass;
  if (isOf(words, at, () => 0)) return { state: 'lost', lostWrites: last };
  const found = passOf(address, words[at]);
  const stale = found > 0 && found < last && isOf(words, at, () => words[at]);
  return stale ? { state: 'stale', lostWrites: last - found } : { state: 'torn', lostWrites: last > 0 ? 1 : 0 };
}
