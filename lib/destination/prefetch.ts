/**
 * Which pages are asked for beside the one that a fault was for. Pure, and of the fault thread alone.
 *
 * All of them are to come in any case: to ask for one ahead costs no byte, but it comes before what the source would
 * have sent, and who asks meanwhile waits behind it. So there are few around a fault that follows no other, and twice
 * as many each time that a fault comes where the last ones said it would.
 */
import { alignDown } from '../memory/page.js';
import type { PrefetchPolicy } from '../options.js';

/** Target pages in a row. */
export interface PageRange {
  readonly first: number;
  readonly end: number;
}

/** Around a fault that follows no other: 64 KiB, which take a tenth of the time that a request does. */
const AROUND_PAGES = 16;
/** Ahead of who goes on through memory: 2 MiB. */
const AHEAD_PAGES_MAX = 512;
/** Who goes through memory in order that are told apart, such as vCPUs. */
const STREAMS_MAX = 16;

interface FaultStream {
  readonly blockIndex: number;
  /** Where what was asked for along it ends. */
  next: number;
  /** How many of those were asked for last; before that half as many, and so on. */
  pages: number;
}

export class Prefetch {
  readonly #policy: PrefetchPolicy;
  /** The one that has grown last is the first. */
  readonly #streams: FaultStream[] = [];

  constructor(policy: PrefetchPolicy) {
    this.#policy = policy;
  }

  /**
   * What to ask for as a fault was for the host page that begins with `page`, of `hostPages` target pages in a block of
   * `blockPages`: maybe that page among others, maybe none. Some may have come, or have been asked for before.
   */
  range(blockIndex: number, page: number, hostPages: number, blockPages: number): PageRange {
    if (this.#policy === 'none' || hostPages >= AROUND_PAGES) return { first: page, end: page };
    const range = (this.#policy === 'adaptive' && this.#along(blockIndex, page)) || this.#around(blockIndex, page);
    return { first: range.first, end: Math.min(range.end, blockPages) };
  }

  #around(blockIndex: number, page: number): PageRange {
    const first = alignDown(page, AROUND_PAGES);
    const end = first + AROUND_PAGES;
    if (this.#policy === 'adaptive') {
      this.#streams.unshift({ blockIndex, next: end, pages: AROUND_PAGES });
      if (this.#streams.length > STREAMS_MAX) this.#streams.pop();
    }
    return { first, end };
  }

  /** Undefined where `page` follows no other. */
  #along(blockIndex: number, page: number): PageRange | undefined {
    const index = this.#streams.findIndex(
      ({ pages, next, ...stream }) =>
        stream.blockIndex === blockIndex && page >= next - 2 * pages && page <= next + pages,
    );
    if (index < 0) return undefined;
    const [stream] = this.#streams.splice(index, 1);
    this.#streams.unshift(stream);
    // What is on its way already is waited for; past the half of it what follows is asked for, so that it never ends.
    if (page < stream.next - stream.pages / 2) return { first: page, end: page };
    const first = Math.max(page, stream.next);
    stream.pages = Math.min(2 * stream.pages, AHEAD_PAGES_MAX);
    stream.next = first + stream.pages;
    return { first, end: stream.next };
  }
}
