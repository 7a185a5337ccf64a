/**
 * What is kept of pages only for who watches: those that were discarded, and those that a fault asked for; and, with
 * what the threads keep of them anyhow, the views of the owner.
 */
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount } from '../memory/page.js';
import type { PageRequested } from './page-requested.js';

const names = ['received', 'requested', 'discarded', 'faulted'] as const;

type Name = (typeof names)[number];

/** By block. */
export type WatchedPagesDescriptor = Readonly<Record<Name, readonly SharedArrayBuffer[]>>;

/** Pages of one RAM block, as the destination knows of them; changes while the migration goes on. */
export interface ArrivingPages extends Readonly<Record<Name, PageBitmap>> {
  readonly idstr: string;
  /** Here, or never to come as the guest has let go of them. */
  readonly received: PageBitmap;
  /** A fault waits for them; of a host page that is larger its first one. */
  readonly requested: PageBitmap;
  /** The source has had them thrown away, whether or not they have come anew. */
  readonly discarded: PageBitmap;
  /** A fault has waited for them. */
  readonly faulted: PageBitmap;
}

export class WatchedPages {
  /** Main thread. */
  readonly discarded: readonly PageBitmap[];
  /** Fault thread, by whole host pages. */
  readonly faulted: readonly PageBitmap[];

  constructor(blockSizes: readonly number[]) {
    const ofEach = () => blockSizes.map((size) => new PageBitmap(pageCount(size)));
    this.discarded = ofEach();
    this.faulted = ofEach();
  }

  descriptor(received: readonly PageBitmap[], requested: PageRequested): WatchedPagesDescriptor {
    const buffers = (bitmaps: readonly PageBitmap[]) => bitmaps.map(({ buffer }) => buffer);
    return {
      received: buffers(received),
      requested: requested.descriptor.bitmaps,
      discarded: buffers(this.discarded),
      faulted: buffers(this.faulted),
    };
  }
}

/** Owner: the views of what the main thread has told. */
export function arrivingPages(
  blocks: readonly { readonly idstr: string; readonly size: number }[],
  shared: WatchedPagesDescriptor,
): readonly ArrivingPages[] {
  return blocks.map(({ idstr, size }, index) => {
    const view = (name: Name) => new PageBitmap(pageCount(size), shared[name][index]);
    const [received, requested, discarded, faulted] = names.map(view);
    return { idstr, received, requested, discarded, faulted };
  });
}
