/**
 * Reads fields one after another from a part of a buffer. Pure; any thread.
 *
 * Used for all records but pages, which are too frequent for it. Invariant: nothing outside [at, end) is
 * read; a field that is not there whole throws {@link SHORTAGE}, and `wanted` says how far it reaches.
 */
import { asciiToString, isPrintable, utf8ToString } from './text.js';

/** Thrown for a field that reaches beyond the end. No error: more bytes may come. */
export const SHORTAGE: unique symbol = Symbol('shortage');

const TWO_32 = 2 ** 32;

export class Cursor {
  /** Where the field that was not there whole would have ended. */
  wanted = 0;
  private bytes: Uint8Array = new Uint8Array(0);
  private view: DataView = new DataView(new ArrayBuffer(0));
  /** Index of the next byte. */
  at = 0;
  private end = 0;

  /** From now on reads [start, end) of `bytes`; `view` shows the same bytes at the same indexes. */
  reset(bytes: Uint8Array, view: DataView, start: number, end: number): void {
    this.bytes = bytes;
    this.view = view;
    this.at = start;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  /** Steps over `length` bytes and returns the index of the first. */
  skip(length: number): number {
    if (length > this.end - this.at) {
      this.wanted = this.at + length;
      throw SHORTAGE;
    }
    const at = this.at;
    this.at += length;
    return at;
  }

  /** The next byte, not consumed. */
  peek(): number {
    const byte = this.view.getUint8(this.skip(1));
    this.at--;
    return byte;
  }

  u8(): number {
    return this.view.getUint8(this.skip(1));
  }

  u16(): number {
    return this.view.getUint16(this.skip(2));
  }

  u32(): number {
    return this.view.getUint32(this.skip(4));
  }

  /** Exact up to 2^53; beyond that rounded, never to less than 2^53. */
  u64(): number {
    const at = this.skip(8);
    return this.view.getUint32(at) * TWO_32 + this.view.getUint32(at + 4);
  }

  /** A name of `length` bytes, or undefined where it is empty or not printable ASCII. */
  name(length: number): string | undefined {
    const at = this.skip(length);
    const printable = length > 0 && isPrintable(this.bytes, at, at + length);
    return printable ? asciiToString(this.bytes, at, at + length) : undefined;
  }

  /** A name behind its u8 length. */
  idstr(): string | undefined {
    return this.name(this.u8());
  }

  text(length: number): string {
    const at = this.skip(length);
    return utf8ToString(this.bytes, at, at + length);
  }

  copy(length: number): Uint8Array {
    const at = this.skip(length);
    return this.bytes.slice(at, at + length);
  }
}
