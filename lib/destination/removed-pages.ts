/**
 * Pages that the guest itself has let go of while pages were still to come (madvise, munmap): they read as
 * zeroes from then on, so what the source still sends of them must not be placed.
 *
 * The kernel holds the guest back until the event that tells of it has been read, and no longer. So
 * reading events and marking their pages is one step under the lock, and so is looking for marks and placing:
 * a page is placed before the removal, which then takes it away, or not at all.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount } from '../memory/page.js';
import { FairLock } from '../threads/fair-lock.js';

export interface RemovedPagesDescriptor {
  readonly lock: SharedArrayBuffer;
  readonly anyRemoved: SharedArrayBuffer;
  readonly bitmaps: readonly SharedArrayBuffer[];
}

export class RemovedPages {
  readonly #bitmaps: readonly PageBitmap[];
  readonly #anyRemoved: Int32Array<SharedArrayBuffer>;
  /** Of the fault thread while it reads events, and of who places pages meanwhile. */
  readonly lock: FairLock;

  constructor(blockSizes: readonly number[], shared?: RemovedPagesDescriptor) {
    this.lock = new FairLock(shared?.lock);
    this.#anyRemoved = new Int32Array(shared?.anyRemoved ?? new SharedArrayBuffer(4));
    this.#bitmaps = blockSizes.map((size, index) => new PageBitmap(pageCount(size), shared?.bitmaps[index]));
  }

  get descriptor(): RemovedPagesDescriptor {
    return {
      lock: this.lock.buffer,
      anyRemoved: this.#anyRemoved.buffer,
      bitmaps: this.#bitmaps.map(({ buffer }) => buffer),
    };
  }

  /** Whether any page was removed at all: what who places a page asks first. Under the lock. */
  get any(): boolean {
    return Atomics.load(this.#anyRemoved, 0) !== 0;
  }

  /** Fault thread, under the lock. */
  mark(blockIndex: number, firstPage: number, count: number): void {
    this.#bitmaps[blockIndex].setRange(firstPage, count);
    Atomics.store(this.#anyRemoved, 0, 1);
  }

  /** Under the lock. */
  has(blockIndex: number, page: number): boolean {
    return this.#bitmaps[blockIndex].test(page);
  }
}
