/** Pages to ask for, gathered and given back with neighbours as one range. Pure. */

export interface RequestRange {
  readonly blockIndex: number;
  /** Target pages from `first` to before `end`. */
  readonly first: number;
  readonly end: number;
}

export class RequestRanges {
  #ranges: RequestRange[] = [];

  add(blockIndex: number, first: number, end: number): void {
    this.#ranges.push({ blockIndex, first, end });
  }

  /** All that were added since, by block and page; those that touch or overlap are one. */
  take(): readonly RequestRange[] {
    const ranges = this.#ranges;
    if (ranges.length === 0) return ranges;
    this.#ranges = [];
    if (ranges.length === 1) return ranges;
    ranges.sort((one, other) => one.blockIndex - other.blockIndex || one.first - other.first);
    const merged: RequestRange[] = [];
    for (const range of ranges) {
      const last = merged.at(-1);
      if (last !== undefined && last.blockIndex === range.blockIndex && range.first <= last.end) {
        merged[merged.length - 1] = { ...last, end: Math.max(last.end, range.end) };
      } else {
        merged.push(range);
      }
    }
    return merged;
  }
}
