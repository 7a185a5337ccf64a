/**
 * Gathers page records into batches of one block and one kind, so that a run of pages costs one native
 * call. A batch refers to page data where it lies in the reader's arena: flush before that is refilled.
 */

import { MigrationError } from '../errors.js';
import { pageIndexOf } from '../memory/page.js';
import type { PageRecord } from '../wire/messages.js';
import { refusal } from './capability-check.js';

/** Where batches go: straight to memory in precopy, through userfaultfd in postcopy. */
export interface PageInstaller {
  /** Pages whose content lies at `offsets[i]` of the arena. */
  pages(blockIndex: number, pages: Uint32Array, count: number, offsets: Uint32Array): void;
  /** Pages that are `fills[i]` throughout. */
  fills(blockIndex: number, pages: Uint32Array, count: number, fills: Uint8Array): void;
  /** One page in xbzrle form: what was installed before it is there. Absent: there is nothing to change (postcopy). */
  xbzrle?(record: PageRecord, recordOffset: number): void;
}

const BATCH_PAGES = 256;

/**
 * What a page record carries, where that is something a page can be installed from. Throws UNSUPPORTED;
 * ILLEGAL_COMMAND for xbzrle, which a precopy alone may have.
 */
export function contentKind({ kind }: PageRecord, offset: number): 'normal' | 'zero' {
  if (kind === 'normal' || kind === 'zero') return kind;
  if (kind === 'compressed') throw refusal('compress', 'page', offset);
  throw new MigrationError('ILLEGAL_COMMAND', `a page in ${kind} form at offset ${offset}, after LISTEN`, {
    offset,
    record: 'page',
  });
}

export class PageCollector {
  readonly #installer: PageInstaller;
  readonly #pages = new Uint32Array(BATCH_PAGES);
  readonly #offsets = new Uint32Array(BATCH_PAGES);
  readonly #fills = new Uint8Array(BATCH_PAGES);
  #blockIndex = -1;
  #kind: 'normal' | 'zero' = 'normal';
  #count = 0;

  constructor(installer: PageInstaller) {
    this.#installer = installer;
  }

  /** Adds a page; `recordOffset` is its place on the stream, for errors. */
  add(record: PageRecord, recordOffset: number): void {
    if (record.kind === 'xbzrle' && this.#installer.xbzrle !== undefined) {
      this.flush();
      this.#installer.xbzrle(record, recordOffset);
      return;
    }
    const kind = contentKind(record, recordOffset);
    if (record.block.index !== this.#blockIndex || kind !== this.#kind || this.#count === BATCH_PAGES) {
      this.flush();
      this.#blockIndex = record.block.index;
      this.#kind = kind;
    }
    this.#pages[this.#count] = pageIndexOf(record.offset);
    this.#offsets[this.#count] = record.dataStart;
    this.#fills[this.#count] = record.fill;
    this.#count += 1;
  }

  flush(): void {
    if (this.#count === 0) return;
    if (this.#kind === 'normal') this.#installer.pages(this.#blockIndex, this.#pages, this.#count, this.#offsets);
    else this.#installer.fills(this.#blockIndex, this.#pages, this.#count, this.#fills);
    this.#count = 0;
  }
}
