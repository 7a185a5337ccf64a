/**
 * The part of a recording that is in memory: bytes read and not decoded yet, in one buffer.
 *
 * What is decoded makes room for what is read next, so the buffer only grows for a record larger than it;
 * decoders limit how large that can be.
 */
import type { ByteSource } from './byte-source.js';

const WINDOW_BYTES = 2 * 1024 * 1024;

export class Window {
  bytes: Uint8Array;
  view: DataView;
  /** Index of the first byte that is not decoded, and the one behind the last that was read. */
  start = 0;
  end = 0;

  constructor(capacity = WINDOW_BYTES) {
    this.bytes = new Uint8Array(capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Bytes read and not decoded. */
  get length(): number {
    return this.end - this.start;
  }

  /** Reads more, with room for `needed` bytes from the start. False at the end of the recording. */
  async fill(source: ByteSource, needed: number): Promise<boolean> {
    this.#makeRoom(needed);
    const length = await source.read(this.bytes.subarray(this.end));
    this.end += length;
    return length > 0;
  }

  #makeRoom(needed: number): void {
    const wanted = Math.max(needed, this.length + 1);
    let capacity = this.bytes.length;
    while (capacity < wanted) capacity *= 2;
    const { bytes, start, end } = this;
    if (capacity > bytes.length) {
      this.bytes = new Uint8Array(capacity);
      this.view = new DataView(this.bytes.buffer);
    }
    if (this.bytes === bytes) bytes.copyWithin(0, start, end);
    else this.bytes.set(bytes.subarray(start, end));
    this.end -= start;
    this.start = 0;
  }
}
