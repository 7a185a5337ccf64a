/**
 * Saving RAM: puts batches of pages on the stream as page records of the RAM section, headers from an
 * arena and pages straight from guest memory, one native call a batch. Migration thread, mostly.
 *
 * The guest may write a page while it is read: its dirty bit, cleared before, is set again then, and
 * the page goes once more. With a preempt channel the return path thread has one of its own for that.
 */
import { concatenate } from '../memory/bytes.js';
import { pageOffset, TARGET_PAGE_SIZE } from '../memory/page.js';
import type { RAMBlockDescriptor } from '../memory/ram-block.js';
import { native } from '../native.js';
import {
  encodeFooter,
  encodePageHeader,
  encodeRamBlockList,
  encodeRamEos,
  encodeRunLength,
  encodeSectionPart,
  encodeSectionStart,
  MAX_PAGE_HEADER_BYTES,
  RUN_LENGTH_BYTES,
} from '../wire/encode.js';
import type { SectionEntry } from '../wire/messages.js';
import { RamFlag, RUN_FLAG } from '../wire/protocol.js';
import type { OutgoingStream } from './outgoing-stream.js';
import type { PageBatch } from './page-search.js';

/** A page header and, behind it, the fill byte or the length of a run. */
const HEADER_BYTES_MAX = MAX_PAGE_HEADER_BYTES + RUN_LENGTH_BYTES;
const NOTHING = new Uint8Array();

/** Where page records are counted, with content and without. */
export interface SavedPages {
  add(kind: 'normal' | 'duplicate', pages: number): void;
}

export class RamSave {
  readonly #stream: OutgoingStream;
  readonly #section: SectionEntry;
  readonly #blocks: readonly RAMBlockDescriptor[];
  readonly #names: readonly Uint8Array[];
  readonly #counters: SavedPages;
  readonly #arena: Uint8Array;
  readonly #view: DataView;
  readonly #ends: Uint32Array;
  readonly #bodies: Uint32Array;
  readonly #zero: Uint8Array;
  readonly #heads: Readonly<Record<'PART' | 'END', Uint8Array>>;
  readonly #tail: Uint8Array;
  /** What opens the section, until it goes in front of the first page: each send costs both ends. */
  #head: Uint8Array = NOTHING;
  /** The block named last on the stream, which CONTINUE refers to. */
  #lastBlock = -1;
  /** Neighbouring pages go with one header, to a destination that has said it understands that. */
  asRuns = false;
  /** The guest stands still for good: its pages need not be copied to be sent. */
  isStill = false;

  /** `section`: as which RAM is sent. `batchPages`: the most pages of one batch. */
  constructor(
    stream: OutgoingStream,
    section: SectionEntry,
    blocks: readonly RAMBlockDescriptor[],
    counters: SavedPages,
    batchPages: number,
  ) {
    this.#stream = stream;
    this.#section = section;
    this.#blocks = blocks;
    this.#names = blocks.map(({ idstr }) => new TextEncoder().encode(idstr));
    this.#counters = counters;
    this.#heads = { PART: encodeSectionPart('PART', section.id), END: encodeSectionPart('END', section.id) };
    this.#tail = concatenate([encodeRamEos(), encodeFooter(section.id)]);
    this.#arena = new Uint8Array(this.#heads.PART.length + batchPages * HEADER_BYTES_MAX);
    this.#view = new DataView(this.#arena.buffer);
    this.#ends = new Uint32Array(batchPages);
    this.#bodies = new Uint32Array(batchPages);
    this.#zero = new Uint8Array(batchPages);
  }

  /**
   * The section's START: which blocks there are. Those of other pages than `hostPageSize` say so; absent, none
   * does, as where there was no POSTCOPY_ADVISE.
   */
  sendBlockList(hostPageSize: number | undefined): void {
    this.#stream.send(encodeSectionStart({ ...this.#section, type: 'START' }));
    this.#stream.send(
      encodeRamBlockList(
        this.#blocks.map(({ idstr, size, pageSize }) => ({
          idstr,
          usedLength: size,
          ...(hostPageSize === undefined || pageSize === hostPageSize ? {} : { pageSize }),
        })),
      ),
    );
    this.endSection();
  }

  /** The next page record names its block again: for a reader who begins here. */
  forgetLastBlock(): void {
    this.#lastBlock = -1;
  }

  /** Opens a PART or the END of the section. */
  beginSection(kind: 'PART' | 'END'): void {
    this.#head = this.#heads[kind];
  }

  endSection(): void {
    this.#stream.send(this.#head.length === 0 ? this.#tail : concatenate([this.#head, this.#tail]));
    this.#head = NOTHING;
  }

  /** Puts a batch into the open section. */
  savePages(batch: PageBatch): void {
    const { constants, findZeroPages } = native();
    const block = this.#blocks[batch.blockIndex];
    const zeroPages = findZeroPages(block.handle, TARGET_PAGE_SIZE, batch.pages, batch.count, this.#zero);
    this.#arena.set(this.#head);
    let at = this.#head.length;
    this.#head = NOTHING;
    // What is put together of host pages comes a target page at a time.
    const asRuns = this.asRuns && block.pageSize === constants.HOST_PAGE_SIZE;
    for (let i = 0; i < batch.count; ) {
      const isZero = this.#zero[i] === 1;
      const end = asRuns ? this.#runEnd(batch, i) : i + 1;
      at = this.#putHeader(at, batch.blockIndex, batch.pages[i], isZero, end - i);
      for (; i < end; i += 1) {
        this.#ends[i] = at;
        this.#bodies[i] = isZero ? constants.NO_PAGE : batch.pages[i];
      }
    }
    const { isStill } = this;
    this.#stream.sendPages(this.#arena, this.#ends, block.handle, TARGET_PAGE_SIZE, this.#bodies, batch.count, isStill);
    this.#counters.add('normal', batch.count - zeroPages);
    this.#counters.add('duplicate', zeroPages);
  }

  /** Behind the last of the neighbours of page `first` of the batch that are zero as it is, or are not. */
  #runEnd({ pages, count }: PageBatch, first: number): number {
    let end = first + 1;
    while (end < count && pages[end] === pages[end - 1] + 1 && this.#zero[end] === this.#zero[first]) end += 1;
    return end;
  }

  #putHeader(at: number, blockIndex: number, page: number, isZero: boolean, count: number): number {
    const name = this.#lastBlock === blockIndex ? undefined : this.#names[blockIndex];
    this.#lastBlock = blockIndex;
    const kind = (isZero ? RamFlag.ZERO : RamFlag.PAGE) | (name === undefined ? RamFlag.CONTINUE : 0);
    const flags = count > 1 ? kind | RUN_FLAG : kind;
    const end = encodePageHeader(this.#view, at, pageOffset(page), flags, name);
    if (count > 1) return encodeRunLength(this.#view, end, count);
    if (!isZero) return end;
    this.#arena[end] = 0; // the fill byte
    return end + 1;
  }
}
