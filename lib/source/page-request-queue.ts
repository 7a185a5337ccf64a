/**
 * Page requests on their way from the return path thread to the migration thread: checked by the
 * one before they go in, taken first-in first-out by the other.
 *
 * What waits is taken together where it belongs together: a request that repeats the one before it, or
 * goes on where that ends, becomes part of it. One for what was sent already costs the migration thread
 * a look at the dirty bitmap, so no more bookkeeping is needed. When the queue is full the return path
 * thread waits, and with it the destination: nothing is dropped.
 */
import { MigrationError } from '../errors.js';
import { pageCount, pageIndexOf } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { Ring } from '../threads/ring.js';

const RECORD_WORDS = 3;
const CAPACITY = 4096;

/** A run of target pages of one block that somebody waits for. */
export interface PageRequest {
  blockIndex: number;
  firstPage: number;
  pageCount: number;
}

/**
 * The request in page terms, or the error of a peer that asked for what can't be: misaligned, empty,
 * or not inside the block. Whole host pages are asked for (docs/protocol.md).
 */
export function checkPageRequest(
  block: RAMBlockDescriptor,
  start: number,
  length: number,
): { firstPage: number; pageCount: number } {
  const aligned = start % block.pageSize === 0 && length % block.pageSize === 0;
  if (!aligned || length === 0 || start + length > block.size) {
    throw new MigrationError(
      'STREAM_CORRUPT',
      `the destination asked for ${length} bytes at ${start} of RAM block ${block.idstr}, which has ${block.size} ` +
        `in pages of ${block.pageSize}`,
      { record: 'REQ_PAGES' },
    );
  }
  return { firstPage: pageIndexOf(start), pageCount: pageCount(length) };
}

export class PageRequestQueue {
  readonly #ring: Ring;
  readonly #record = new Uint32Array(RECORD_WORDS);

  /** `buffer` shares the queue of another thread; absent, a new one is empty. */
  constructor(buffer?: SharedArrayBuffer) {
    this.#ring = buffer === undefined ? Ring.create(RECORD_WORDS, CAPACITY) : Ring.attach(buffer, RECORD_WORDS);
  }

  get buffer(): SharedArrayBuffer {
    return this.#ring.buffer;
  }

  get length(): number {
    return this.#ring.length;
  }

  /** Return path thread: false once the queue is closed. */
  push(blockIndex: number, firstPage: number, pages: number): boolean {
    return this.#ring.push([blockIndex, firstPage, pages]);
  }

  /**
   * Migration thread: takes the oldest request into `request`, and with it those right behind it that begin
   * inside it or at its end; the page asked for first stays the first. False if there is none.
   */
  shift(request: PageRequest): boolean {
    const record = this.#record;
    if (!this.#ring.shift(record)) return false;
    [request.blockIndex, request.firstPage, request.pageCount] = record;
    while (this.#ring.peek(record)) {
      const [blockIndex, firstPage, pages] = record;
      const ahead = firstPage - request.firstPage;
      if (blockIndex !== request.blockIndex || ahead < 0 || ahead > request.pageCount) break;
      request.pageCount = Math.max(request.pageCount, ahead + pages);
      this.#ring.shift(record);
    }
    return true;
  }

  close(): void {
    this.#ring.close();
  }
}
