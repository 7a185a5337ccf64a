/**
 * A bitmap with one bit a target page over shared memory: dirty, received, requested.
 *
 * Single bits are set, cleared and tested atomically, so two threads may own different bits of one
 * word. Searches and counts are not: they see each word at some moment, and a bit that another
 * thread changes meanwhile may be seen or not. Bit i of word i >> 5 is page i, as native code writes it.
 */
export class PageBitmap {
  /** The words, for native calls. */
  readonly words: Uint32Array<SharedArrayBuffer>;

  /** `buffer` shares an existing bitmap of the same size; absent, a new one is all clear. */
  constructor(
    readonly pageCount: number,
    buffer: SharedArrayBuffer = new SharedArrayBuffer(Math.ceil(pageCount / 32) * 4),
  ) {
    this.words = new Uint32Array(buffer);
    if (this.words.length !== Math.ceil(pageCount / 32))
      throw new RangeError(`bitmap of ${pageCount} pages over ${buffer.byteLength} bytes`);
  }

  get buffer(): SharedArrayBuffer {
    return this.words.buffer;
  }

  test(pageIndex: number): boolean {
    return ((Atomics.load(this.words, pageIndex >>> 5) >>> (pageIndex & 31)) & 1) === 1;
  }

  /** Sets the bit; true if it was clear. */
  set(pageIndex: number): boolean {
    const mask = (1 << (pageIndex & 31)) >>> 0;
    return (Atomics.or(this.words, pageIndex >>> 5, mask) & mask) === 0;
  }

  /** Clears the bit; true if it was set. */
  clear(pageIndex: number): boolean {
    const mask = (1 << (pageIndex & 31)) >>> 0;
    return (Atomics.and(this.words, pageIndex >>> 5, ~mask) & mask) !== 0;
  }

  setAll(): void {
    this.words.fill(0xffffffff);
    const spare = this.words.length * 32 - this.pageCount;
    if (spare > 0) this.words[this.words.length - 1] = 0xffffffff >>> spare;
  }

  /** Sets `count` bits from `start`. */
  setRange(start: number, count: number): void {
    this.#eachWord(start, count, (word, mask) => Atomics.or(this.words, word, mask));
  }

  /** Clears `count` bits from `start`. */
  clearRange(start: number, count: number): void {
    this.#eachWord(start, count, (word, mask) => Atomics.and(this.words, word, ~mask));
  }

  /** The first set bit at or after `from` and before `end`, or `end`. */
  findNext(from: number, end = this.pageCount): number {
    return this.#find(from, end, 0);
  }

  /** The first clear bit at or after `from` and before `end`, or `end`. */
  findNextClear(from: number, end = this.pageCount): number {
    return this.#find(from, end, 0xffffffff);
  }

  /** How many bits are set. */
  count(): number {
    let total = 0;
    for (const word of this.words) total += popcount(word);
    return total;
  }

  /** How many bits are set that are clear in `other`, which is of the same size. */
  countWithout(other: PageBitmap): number {
    let total = 0;
    for (const [index, word] of this.words.entries()) total += popcount(word & ~other.words[index]);
    return total;
  }

  /** Moves all bits that are set over to `other`, which is of the same size: they are clear here then. */
  moveTo(other: PageBitmap): void {
    const { words } = this;
    // Of 64 GiB there are half a million, and a guest may stand still meanwhile.
    for (let index = 0; index < words.length; index += 1) {
      if (words[index] === 0) continue;
      Atomics.or(other.words, index, words[index]);
      words[index] = 0;
    }
  }

  /**
   * The set bits as text, for messages: `3, 7-9, 12-40` and how many ranges more there are than `limit`.
   * `none` where there are none.
   */
  describeRanges(limit: number): string {
    const ranges: string[] = [];
    let more = 0;
    for (let first = this.findNext(0); first < this.pageCount; ) {
      const end = this.findNextClear(first);
      if (ranges.length === limit) more += 1;
      else ranges.push(end - first === 1 ? `${first}` : `${first}-${end - 1}`);
      first = this.findNext(end);
    }
    if (ranges.length === 0 && more === 0) return 'none';
    return more === 0 ? ranges.join(', ') : `${[...ranges, ''].join(', ')}and ${more} more`;
  }

  /** Visits each word that holds some of the `count` bits from `start`, with the mask of those. */
  #eachWord(start: number, count: number, visit: (word: number, mask: number) => void): void {
    const end = start + count;
    for (let page = start; page < end; ) {
      const bit = page & 31;
      const bits = Math.min(32 - bit, end - page);
      visit(page >>> 5, (0xffffffff >>> (32 - bits)) << bit);
      page += bits;
    }
  }

  #find(from: number, end: number, flip: number): number {
    const { words } = this;
    if (from >= end) return end;
    const last = (end - 1) >>> 5;
    let index = from >>> 5;
    let word = (words[index] ^ flip) & (0xffffffff << (from & 31));
    while (word === 0) {
      if (index === last) return end;
      index += 1;
      word = words[index] ^ flip;
    }
    return Math.min(index * 32 + 31 - Math.clz32(word & -word), end);
  }
}

function popcount(word: number): number {
  let v = word - ((word >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
