/**
 * The incremental decoder of a data channel of multifd: bytes in, the opening and packets out, no socket.
 *
 * Pure; one decoder a connection. Invariants: as in decode.ts — a whole record or nothing; all checked
 * before use; nothing outside bytes[start, end) read; a failed decoder stays failed. What is compressed
 * stays so.
 */
import { Cursor, SHORTAGE } from './cursor.js';
import { WireError, type WireErrorCode } from './errors.js';
import type { MultifdPacketRecord, MultifdRecord } from './messages.js';
import {
  DEFAULT_TARGET_PAGE_SIZE,
  defaultLimits,
  MULTIFD_MAGIC,
  MULTIFD_NAME_BYTES,
  MULTIFD_OPENING_BYTES,
  MULTIFD_PACKET_BYTES,
  MULTIFD_VERSION,
  MultifdFlag,
  multifdCompressions,
} from './protocol.js';
import { asciiToString, isPrintable, uuidText } from './text.js';

export interface MultifdDecoderOptions {
  /** Offset of the first byte given; 0 by default. */
  readonly startOffset?: number;
  /** The main channel tells; 4096 by default. */
  readonly targetPageSize?: number;
  readonly limits?: { readonly maxMultifdPages?: number };
}

const OFFSET_BYTES = 8;
const UUID_BYTES = 16;
const RESERVED_BYTES = 28;

export class MultifdDecoder {
  /** Bytes that the last successful `next()` consumed; 0 if it returned undefined. */
  consumed = 0;
  /** Bytes from `start` that are needed at least, after `next()` returned undefined; 0 when none will come. */
  needed = 0;
  /** Offset of the next byte on this channel. */
  offset: number;
  /** Offset at which the last record began. */
  recordOffset: number;

  private opened = false;
  private failure: WireError | undefined;
  private inputEnded = false;
  private start = 0;
  private readonly cursor = new Cursor();
  private readonly targetPageSize: number;
  private readonly maxPages: number;

  constructor(options: MultifdDecoderOptions = {}) {
    this.offset = options.startOffset ?? 0;
    this.recordOffset = this.offset;
    this.targetPageSize = options.targetPageSize ?? DEFAULT_TARGET_PAGE_SIZE;
    this.maxPages = options.limits?.maxMultifdPages ?? defaultLimits.maxMultifdPages;
  }

  /**
   * Decodes the opening or one packet from bytes[start, end); `view` shows the same bytes at the same
   * indexes. Returns undefined, with nothing consumed, where it is not there whole.
   * @throws WireError for bytes that break the protocol, or that end inside a record after `endOfInput()`
   */
  next(bytes: Uint8Array, view: DataView, start: number, end: number): MultifdRecord | undefined {
    if (this.failure !== undefined) throw this.failure;
    const { cursor } = this;
    this.start = start;
    this.consumed = 0;
    this.needed = 0;
    this.recordOffset = this.offset;
    cursor.reset(bytes, view, start, end);
    try {
      const record = this.opened ? this.packet(bytes) : this.opening();
      this.opened = true;
      this.consumed = cursor.at - start;
      this.offset += this.consumed;
      return record;
    } catch (error) {
      if (error !== SHORTAGE) throw error;
      return this.short(cursor.wanted - start, end - start);
    }
  }

  /** Says that nothing follows the bytes that `next()` is given from now on. */
  endOfInput(): void {
    this.inputEnded = true;
  }

  private opening(): MultifdRecord {
    const { cursor } = this;
    this.magic('opening');
    const uuid = uuidText(cursor.copy(UUID_BYTES));
    const channel = cursor.u8();
    cursor.skip(this.start + MULTIFD_OPENING_BYTES - cursor.at);
    return { type: 'multifd-opening', version: MULTIFD_VERSION, uuid, channel };
  }

  private packet(bytes: Uint8Array): MultifdPacketRecord {
    const { cursor } = this;
    this.magic('packet');
    const { sync, compression } = this.flags(cursor.u32());
    const pagesAllocated = cursor.u32();
    const normalPages = cursor.u32();
    const nextBytes = cursor.u32();
    const packetNumber = cursor.u64();
    const zeroPages = cursor.u32();
    if (pagesAllocated > this.maxPages) {
      const detail = `${pagesAllocated} offsets, above maxMultifdPages ${this.maxPages}`;
      throw this.fail('LIMIT', detail, this.start);
    }
    const pages = normalPages + zeroPages;
    if (pages > pagesAllocated) {
      throw this.fail('BAD_LENGTH', `${pages} pages with room for ${pagesAllocated} offsets`, this.start);
    }
    // A packet for synchronisation alone may repeat the length of the one before.
    const dataLength = normalPages === 0 ? 0 : this.dataLength(nextBytes, normalPages, compression);
    cursor.skip(RESERVED_BYTES);
    const idstr = this.block(bytes, cursor.skip(MULTIFD_NAME_BYTES), pages > 0);
    cursor.skip(pagesAllocated * OFFSET_BYTES + dataLength);
    cursor.at = this.start + MULTIFD_PACKET_BYTES;
    const normal = this.offsets(normalPages);
    const zero = this.offsets(zeroPages);
    cursor.at = this.start + MULTIFD_PACKET_BYTES + pagesAllocated * OFFSET_BYTES;
    const dataStart = cursor.skip(dataLength);
    return {
      type: 'multifd-packet',
      sync,
      compression,
      packetNumber,
      idstr,
      normal,
      zero,
      pagesAllocated,
      dataStart,
      dataLength,
    };
  }

  private magic(what: string): void {
    const { cursor } = this;
    const magic = cursor.u32();
    if (magic !== MULTIFD_MAGIC) {
      throw this.fail('BAD_MAGIC', `a multifd ${what} begins with 0x${magic.toString(16)}`, this.start);
    }
    const version = cursor.u32();
    if (version !== MULTIFD_VERSION) {
      throw this.fail('BAD_VERSION', `multifd version ${version}, not ${MULTIFD_VERSION}`, cursor.at - 4);
    }
  }

  private flags(flags: number): { sync: boolean; compression: string } {
    const at = this.cursor.at - 4;
    if ((flags & MultifdFlag.DEVICE_STATE) !== 0) {
      throw this.fail('UNSUPPORTED', 'a packet of device state (multifd device state transfer)', at);
    }
    const compression = multifdCompressions.get((flags & MultifdFlag.COMPRESSION) >>> 1);
    const known = MultifdFlag.SYNC | MultifdFlag.COMPRESSION;
    if (compression === undefined || (flags & ~known) !== 0) {
      throw this.fail('BAD_FLAGS', `flags 0x${flags.toString(16)}`, at);
    }
    return { sync: (flags & MultifdFlag.SYNC) !== 0, compression };
  }

  private dataLength(length: number, pages: number, compression: string): number {
    const plain = pages * this.targetPageSize;
    // No compression doubles what it is given.
    const valid = compression === 'none' ? length === plain : length <= 2 * plain;
    if (!valid) throw this.fail('BAD_LENGTH', `${length} bytes (${compression}) for ${pages} pages`, this.start + 20);
    return length;
  }

  private block(bytes: Uint8Array, at: number, needed: boolean): string {
    const end = at + MULTIFD_NAME_BYTES;
    const zero = bytes.subarray(at, end).indexOf(0);
    const nameEnd = at + zero;
    if (zero < 0 || !isPrintable(bytes, at, nameEnd) || (needed && nameEnd === at)) {
      throw this.fail('BAD_NAME', 'a block name that is empty, not ended or not printable ASCII', at);
    }
    return asciiToString(bytes, at, nameEnd);
  }

  private offsets(count: number): number[] {
    const { cursor } = this;
    const offsets: number[] = [];
    for (let i = 0; i < count; i++) {
      const offset = cursor.u64();
      if (offset % this.targetPageSize !== 0 || offset > Number.MAX_SAFE_INTEGER) {
        throw this.fail('BAD_VALUE', `page offset ${offset}`, cursor.at - OFFSET_BYTES);
      }
      offsets.push(offset);
    }
    return offsets;
  }

  private short(needed: number, available: number): undefined {
    if (this.inputEnded) {
      if (available === 0 && this.opened) return undefined;
      throw this.fail('TRUNCATED', `the input ends ${available} bytes into it`, this.start);
    }
    this.needed = needed;
    return undefined;
  }

  private fail(code: WireErrorCode, detail: string, at: number): WireError {
    const record = this.opened ? 'multifd packet' : 'multifd opening';
    this.failure = new WireError(code, detail, this.offset + (at - this.start), record);
    return this.failure;
  }
}
