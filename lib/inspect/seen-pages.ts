/**
 * How many different pages of a block there were: a bitmap that is only there where pages were seen.
 *
 * A block list may claim any size, so memory is bounded by a budget that all blocks of a stream share; a
 * block that goes beyond is no longer counted.
 */

/** Pages of one piece of the bitmap; a power of two. */
const PIECE_PAGES = 2 ** 15;
const PIECE_WORDS = PIECE_PAGES / 32;

/** 64 MiB of bitmap: 2 TiB of 4 KiB pages. */
const BUDGET_PIECES = 2 ** 14;

export interface PieceBudget {
  left: number;
}

export const pieceBudget = (): PieceBudget => ({ left: BUDGET_PIECES });

export class SeenPages {
  readonly #pieces = new Map<number, Uint32Array>();
  readonly #budget: PieceBudget;
  #distinct = 0;
  #gaveUp = false;
  /** The piece of the page before, as pages mostly come in order. */
  #lastIndex = -1;
  #last: Uint32Array = new Uint32Array(0);

  constructor(budget: PieceBudget) {
    this.#budget = budget;
  }

  /** Different pages so far, or null where the budget did not reach. */
  get distinct(): number | null {
    return this.#gaveUp ? null : this.#distinct;
  }

  add(page: number): void {
    if (this.#gaveUp) return;
    const index = Math.floor(page / PIECE_PAGES);
    if (index !== this.#lastIndex && !this.#enter(index)) return;
    const bit = page % PIECE_PAGES;
    const mask = 1 << (bit & 31);
    const word = this.#last[bit >>> 5];
    if ((word & mask) !== 0) return;
    this.#last[bit >>> 5] = word | mask;
    this.#distinct++;
  }

  #enter(index: number): boolean {
    let piece = this.#pieces.get(index);
    if (piece === undefined) {
      if (this.#budget.left === 0) {
        this.#gaveUp = true;
        return false;
      }
      this.#budget.left--;
      piece = new Uint32Array(PIECE_WORDS);
      this.#pieces.set(index, piece);
    }
    this.#lastIndex = index;
    this.#last = piece;
    return true;
  }
}
