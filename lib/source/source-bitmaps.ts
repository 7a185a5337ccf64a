/** What the source knows of the guest's pages, block by block: bitmaps of target pages that its threads share. */
import { PageBitmap } from '../memory/bitmap.js';
import { pageCount } from '../memory/page.js';

const names = ['dirty', 'unconfirmed', 'received', 'asked'] as const;

export type SourceBitmapsDescriptor = Readonly<Record<(typeof names)[number], readonly SharedArrayBuffer[]>>;

export class SourceBitmaps {
  /** Still to be sent. Whoever sends a page in postcopy has cleared its bit, so none is sent twice. */
  readonly dirty: readonly PageBitmap[];
  /** In postcopy: what was dirty at the switch, or missing at the last recovery, and so may be missing now. */
  readonly unconfirmed: readonly PageBitmap[];
  /** Of a recovery: what the destination says that it has. */
  readonly received: readonly PageBitmap[];
  /** What the destination has asked for, whether or not it has gone since; for who watches. */
  readonly asked: readonly PageBitmap[];

  /** `blockSizes` in bytes; `shared`: those of another thread, else new ones that are clear. */
  constructor(blockSizes: readonly number[], shared?: SourceBitmapsDescriptor) {
    const ofEach = (name: (typeof names)[number]) =>
      blockSizes.map((size, index) => new PageBitmap(pageCount(size), shared?.[name][index]));
    this.dirty = ofEach('dirty');
    this.unconfirmed = ofEach('unconfirmed');
    this.received = ofEach('received');
    this.asked = ofEach('asked');
  }

  get descriptor(): SourceBitmapsDescriptor {
    const buffers = (bitmaps: readonly PageBitmap[]) => bitmaps.map(({ buffer }) => buffer);
    return {
      dirty: buffers(this.dirty),
      unconfirmed: buffers(this.unconfirmed),
      received: buffers(this.received),
      asked: buffers(this.asked),
    };
  }

  /** From now on what is dirty may be missing at the destination, until it says otherwise. */
  markUnconfirmed(): void {
    for (const [index, { words }] of this.dirty.entries()) this.unconfirmed[index].words.set(words);
  }

  /** Dirty is what the destination does not say that it has. */
  takeReceived(): void {
    for (const [index, { words }] of this.received.entries()) {
      const dirty = this.dirty[index];
      dirty.setAll(); // no bit behind the last page is
      for (const [at, word] of words.entries()) dirty.words[at] &= ~word;
    }
  }
}
