/**
 * The memory that inputs are loaded into: small real RAM blocks with a guard on either side of each, and a plain
 * account of what they must hold.
 */
import { PageBitmap } from '#lib/memory/bitmap.js';
import { pageCount, TARGET_PAGE_SIZE } from '#lib/memory/page.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { Broken } from './input.ts';

const GUARD_BYTE = 0xa5;
/** Mappings made until they lie one beside the other: at first the kernel fills holes. */
const MAX_TRIES = 200;
const ABSENT = -1;
const CHANGED = -1000;

export interface BlockSize {
  readonly idstr: string;
  readonly size: number;
}

/** A RAM block, and for each page where its content came from. */
export class GuardedBlock {
  readonly block: RAMBlock;
  readonly received: PageBitmap;
  touched = false;
  readonly #view: Buffer;
  /** By page: {@link ABSENT}, {@link CHANGED}, an offset in the arena, or for a page of fill bytes -2 and below. */
  readonly #from: Int32Array;
  /** Pages that came in parts. */
  readonly #changed = new Map<number, Buffer>();

  constructor(block: RAMBlock) {
    this.block = block;
    this.received = new PageBitmap(pageCount(block.size));
    this.#view = Buffer.from(native().ramBlockBuffer(block.handle));
    this.#from = new Int32Array(pageCount(block.size)).fill(ABSENT);
  }

  isAbsent(page: number): boolean {
    return this.#from[page] === ABSENT;
  }

  load(page: number, arenaOffset: number): void {
    this.touched = true;
    this.#from[page] = arenaOffset;
  }

  fill(page: number, byte: number): void {
    this.touched = true;
    this.#from[page] = -2 - byte;
  }

  /** `change` is done to a copy of what the page must hold. */
  change(page: number, arena: Uint8Array, change: (content: Uint8Array) => void): void {
    const content = Buffer.from(this.#content(page, arena));
    change(content);
    this.#changed.set(page, content);
    this.#from[page] = CHANGED;
  }

  discard(start: number, length: number): void {
    this.#from.fill(ABSENT, pageCount(start), pageCount(start + length));
  }

  /** Throws unless every page holds what it must. */
  check(arena: Uint8Array): void {
    for (const [page, from] of this.#from.entries()) {
      const at = page * TARGET_PAGE_SIZE;
      const found = this.#view.subarray(at, at + TARGET_PAGE_SIZE);
      if (!found.equals(this.#content(page, arena)))
        throw new Broken(`page ${page} of ${this.block.idstr} is not what was sent (${from})`);
    }
  }

  #content(page: number, arena: Uint8Array): Uint8Array {
    const from = this.#from[page];
    if (from >= 0) return arena.subarray(from, from + TARGET_PAGE_SIZE);
    if (from === CHANGED) return this.#changed.get(page) as Buffer;
    return pageOf(from === ABSENT ? 0 : -2 - from);
  }

  /** Missing again, all of it. */
  reset(): void {
    if (!this.touched) return;
    this.touched = false;
    this.#from.fill(ABSENT);
    native().ramBlockDiscard(this.block.handle, Float64Array.of(0, this.block.size), 1);
  }
}

const filledPages = new Map<number, Buffer>();

function pageOf(byte: number): Buffer {
  let page = filledPages.get(byte);
  if (page === undefined) {
    page = Buffer.alloc(TARGET_PAGE_SIZE, byte);
    filledPages.set(byte, page);
  }
  return page;
}

export class GuestMemory {
  readonly #blocks: GuardedBlock[];
  readonly guards: readonly RAMBlock[];
  readonly #guardViews: Buffer[];

  constructor(sizes: readonly BlockSize[]) {
    const neighbours = createNeighbours(sizes);
    const isGuard = (block: RAMBlock): boolean => block.idstr === GUARD;
    this.guards = neighbours.filter(isGuard);
    this.#blocks = neighbours.filter((block) => !isGuard(block)).map((block) => new GuardedBlock(block));
    this.#guardViews = this.guards.map(({ handle }) => Buffer.from(native().ramBlockBuffer(handle)).fill(GUARD_BYTE));
  }

  get blocks(): readonly GuardedBlock[] {
    return this.#blocks;
  }

  find(idstr: string, size: number): GuardedBlock | undefined {
    return this.#blocks.find(({ block }) => block.idstr === idstr && block.size === size);
  }

  /** Throws unless the blocks hold what they must, and the memory around them what it always held. */
  check(arena: Uint8Array): void {
    for (const view of this.#guardViews) {
      if (!view.equals(pageOf(GUARD_BYTE))) throw new Broken('a page beside a RAM block was written');
    }
    for (const block of this.#blocks) if (block.touched) block.check(arena);
  }

  reset(): void {
    for (const block of this.#blocks) block.reset();
  }

  close(): void {
    for (const { block } of this.#blocks) block.close();
    for (const guard of this.guards) guard.close();
  }
}

const GUARD = 'guard';

/** A guard, a block, a guard, a block, … a guard: each mapped right below the one before. */
function createNeighbours(sizes: readonly BlockSize[]): RAMBlock[] {
  const wanted = [GUARD, ...sizes.flatMap((size) => [size, GUARD])].map((each) =>
    typeof each === 'string' ? { idstr: GUARD, size: TARGET_PAGE_SIZE } : each,
  );
  const elsewhere: RAMBlock[] = [];
  try {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const made = wanted.map((options) => RAMBlock.create(options));
      if (made.every((block, i) => i === 0 || block.address + block.size === made[i - 1].address)) return made;
      elsewhere.push(...made);
    }
  } finally {
    for (const block of elsewhere) block.close();
  }
  throw new Error(`the kernel did not map ${wanted.length} blocks one beside the other, in ${MAX_TRIES} tries`);
}
