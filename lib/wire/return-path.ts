/**
 * The incremental decoder of the return path: bytes in, messages out, no socket.
 *
 * Runs in the source's return-path thread; one decoder a connection. Invariants: as in decode.ts — a whole
 * message or nothing; all checked before use; nothing outside bytes[start, end) read; a failed decoder
 * stays failed.
 */
import { Cursor, SHORTAGE } from './cursor.js';
import { WireError, type WireErrorCode } from './errors.js';
import type { ReturnPathMessageRecord } from './messages.js';
import {
  BITMAP_END_MARK,
  defaultLimits,
  lengthAllowed,
  type ReturnPathMessageName,
  returnPathMessages,
} from './protocol.js';

export interface ReturnPathDecoderOptions {
  /** Offset of the first byte given; 0 by default. */
  readonly startOffset?: number;
  readonly limits?: { readonly maxBitmapBytes?: number };
  /**
   * How many bytes the received bitmap of a block must have (a bit for each target page, in multiples of 8
   * bytes), or undefined if there is no such block. Without it any size up to the limit is taken.
   */
  readonly bitmapBytes?: (idstr: string) => number | undefined;
}

export class ReturnPathDecoder {
  /** Bytes that the last successful `next()` consumed; 0 if it returned undefined. */
  consumed = 0;
  /** Bytes from `start` that are needed at least, after `next()` returned undefined; 0 when none will come. */
  needed = 0;
  /** Offset of the next byte in what the destination sent. */
  offset: number;
  /** Offset at which the last message began. */
  recordOffset: number;

  private failure: WireError | undefined;
  private inputEnded = false;
  private start = 0;
  private readonly cursor = new Cursor();
  private readonly maxBitmapBytes: number;
  private readonly bitmapBytes: ReturnPathDecoderOptions['bitmapBytes'];

  constructor(options: ReturnPathDecoderOptions = {}) {
    this.offset = options.startOffset ?? 0;
    this.recordOffset = this.offset;
    this.maxBitmapBytes = options.limits?.maxBitmapBytes ?? defaultLimits.maxBitmapBytes;
    this.bitmapBytes = options.bitmapBytes;
  }

  /**
   * Decodes one message from bytes[start, end); `view` shows the same bytes at the same indexes. Returns
   * undefined, with nothing consumed, where the message is not there whole.
   * @throws WireError for bytes that break the protocol, or that end inside a message after `endOfInput()`
   */
  next(bytes: Uint8Array, view: DataView, start: number, end: number): ReturnPathMessageRecord | undefined {
    if (this.failure !== undefined) throw this.failure;
    const { cursor } = this;
    this.start = start;
    this.consumed = 0;
    this.needed = 0;
    this.recordOffset = this.offset;
    cursor.reset(bytes, view, start, end);
    try {
      const record = this.message();
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

  private message(): ReturnPathMessageRecord {
    const { cursor } = this;
    const code = cursor.u16();
    const entry = returnPathMessages.get(code);
    if (entry === undefined) throw this.fail('UNKNOWN_MESSAGE', 'return path', `message code ${code}`, this.start);
    const length = cursor.u16();
    if (!lengthAllowed(entry.length, length)) {
      throw this.fail('BAD_LENGTH', entry.name, `a payload of ${length} bytes`, cursor.at - 2);
    }
    cursor.skip(length);
    cursor.at -= length;
    return this.payloads[entry.name](length);
  }

  private readonly payloads: Readonly<Record<ReturnPathMessageName, (length: number) => ReturnPathMessageRecord>> = {
    SHUT: () => ({ type: 'SHUT', value: this.cursor.u32() }),
    PONG: () => ({ type: 'PONG', value: this.cursor.u32() }),
    REQ_PAGES_ID: (length) => {
      const request = this.reqPages('REQ_PAGES_ID');
      return { ...request, idstr: this.idstr('REQ_PAGES_ID', length - 12) };
    },
    REQ_PAGES: () => this.reqPages('REQ_PAGES'),
    RECV_BITMAP: (length) => this.recvBitmap(length),
    RESUME_ACK: () => ({ type: 'RESUME_ACK', value: this.cursor.u32() }),
    SWITCHOVER_ACK: () => ({ type: 'SWITCHOVER_ACK' }),
  };

  private reqPages(record: string): { type: 'REQ_PAGES'; start: number; length: number } {
    const { cursor } = this;
    const start = cursor.u64();
    const length = cursor.u32();
    if (length === 0 || start + length > Number.MAX_SAFE_INTEGER) {
      throw this.fail('BAD_VALUE', record, `range ${start}+${length}`, this.start + 4);
    }
    return { type: 'REQ_PAGES', start, length };
  }

  /** A name that fills the `length` bytes left of a payload. */
  private idstr(record: string, length: number): string {
    const { cursor } = this;
    const nameLength = cursor.u8();
    if (nameLength + 1 !== length) {
      throw this.fail('BAD_LENGTH', record, `a name of ${nameLength} bytes in ${length}`, cursor.at - 1);
    }
    const name = cursor.name(nameLength);
    if (name === undefined)
      throw this.fail('BAD_NAME', record, 'a name that is not printable ASCII', cursor.at - nameLength);
    return name;
  }

  private recvBitmap(length: number): ReturnPathMessageRecord {
    const { cursor } = this;
    const idstr = this.idstr('RECV_BITMAP', length);
    const at = cursor.at;
    const size = cursor.u64();
    if (size > this.maxBitmapBytes) {
      throw this.fail('LIMIT', 'RECV_BITMAP', `${size} bytes, above maxBitmapBytes ${this.maxBitmapBytes}`, at);
    }
    if (size % 8 !== 0) throw this.fail('BAD_LENGTH', 'RECV_BITMAP', `${size} bytes are not a multiple of 8`, at);
    this.checkBitmapSize(idstr, size, at);
    const bitmapAt = cursor.skip(size);
    if (cursor.u32() !== BITMAP_END_MARK.high || cursor.u32() !== BITMAP_END_MARK.low) {
      throw this.fail('BAD_VALUE', 'RECV_BITMAP', 'the end mark is wrong', bitmapAt + size);
    }
    cursor.at = bitmapAt;
    const bitmap = cursor.copy(size);
    cursor.skip(8);
    return { type: 'RECV_BITMAP', idstr, bitmap };
  }

  private checkBitmapSize(idstr: string, size: number, at: number): void {
    if (this.bitmapBytes === undefined) return;
    const expected = this.bitmapBytes(idstr);
    if (expected === undefined) throw this.fail('UNKNOWN_RAM_BLOCK', 'RECV_BITMAP', `there is no block ${idstr}`, at);
    if (size !== expected) {
      throw this.fail('BAD_LENGTH', 'RECV_BITMAP', `${size} bytes for block ${idstr}, which takes ${expected}`, at);
    }
  }

  private short(needed: number, available: number): undefined {
    if (this.inputEnded) {
      if (available === 0) return undefined;
      throw this.fail('TRUNCATED', 'return path', `the input ends ${available} bytes into a message`, this.start);
    }
    this.needed = needed;
    return undefined;
  }

  private fail(code: WireErrorCode, record: string, detail: string, at: number): WireError {
    this.failure = new WireError(code, detail, this.offset + (at - this.start), record);
    return this.failure;
  }
}
