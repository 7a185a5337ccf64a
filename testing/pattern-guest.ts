/**
 * A guest without vCPUs, of any number of blocks of any kind, whose pages say which they are: what a migration
 * should carry over is known without a copy of it. Some pages are zero, so that both page records occur.
 */
import { type Guest, type MemoryKind, RAMBlock } from '#lib/index.js';
import { native } from '#lib/native.js';

const PAGE = 4096;

export interface PatternBlock {
  readonly idstr: string;
  /** Of 4096 bytes; the block is rounded up to whole pages of its kind, and the pattern fills all of it. */
  readonly pages: number;
  readonly kind?: MemoryKind;
  /** Bytes of a host page of the block; as {@link RAMBlock.create} has it when absent. */
  readonly pageSize?: number;
}

/** The content of a page: zero for every fifth, else its block, number and seed throughout. */
export function patternPage(blockIndex: number, page: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(PAGE);
  if (page % 5 === 4) return bytes;
  new Uint32Array(bytes.buffer).fill(((blockIndex + 1) << 24) ^ (page * 2654435761) ^ seed);
  return bytes;
}

export class PatternGuest implements Guest {
  readonly ramBlocks: readonly RAMBlock[];
  running = false;
  /** What load gave, or what save should give. */
  deviceState: Uint8Array;
  /** What was asked of it, in order. */
  readonly asked: string[] = [];
  /** Absent, as for a guest that can do none of it, until a test sets them. */
  throttle?: (percent: number) => void;
  vcpuThreads?: readonly number[];
  died?: Promise<Error>;
  /** A call that should fail. */
  failing: 'start' | 'stop' | 'save' | 'load' | undefined;

  constructor(blocks: readonly PatternBlock[], deviceState: Uint8Array = new Uint8Array()) {
    this.ramBlocks = blocks.map(({ pages, ...options }) => RAMBlock.create({ ...options, size: pages * PAGE }));
    this.deviceState = deviceState;
  }

  /** Writes the pattern to every page. */
  fill(seed: number): this {
    this.#eachPage((block, blockIndex, page) =>
      native().ramBlockWrite(block.handle, page * PAGE, patternPage(blockIndex, page, seed)),
    );
    return this;
  }

  /** Pages that do not hold the pattern, as `block:page`. */
  wrongPages(seed: number): string[] {
    const wrong: string[] = [];
    const found = new Uint8Array(PAGE);
    this.#eachPage((block, blockIndex, page) => {
      native().ramBlockRead(block.handle, page * PAGE, found);
      if (Buffer.compare(found, patternPage(blockIndex, page, seed)) !== 0) wrong.push(`${block.idstr}:${page}`);
    });
    return wrong;
  }

  async start(): Promise<void> {
    this.#ask('start');
    this.running = true;
  }

  async stop(): Promise<void> {
    this.#ask('stop');
    this.running = false;
  }

  async saveDeviceState(): Promise<Uint8Array> {
    this.#ask('save');
    return this.deviceState;
  }

  async loadDeviceState(state: Uint8Array): Promise<void> {
    this.#ask('load');
    this.deviceState = state;
  }

  close(): void {
    for (const block of this.ramBlocks) block.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #ask(what: 'start' | 'stop' | 'save' | 'load'): void {
    this.asked.push(what);
    if (this.failing === what) throw new Error(`the guest refuses to ${what}`);
  }

  #eachPage(visit: (block: RAMBlock, blockIndex: number, page: number) => void): void {
    for (const [blockIndex, block] of this.ramBlocks.entries()) {
      for (let page = 0; page < block.size / PAGE; page += 1) visit(block, blockIndex, page);
    }
  }
}
