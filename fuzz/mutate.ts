/**
 * Makes an input from another: whole records are dropped, doubled, moved and taken from other inputs; then bits,
 * bytes and big-endian fields are changed, mostly in the heads of records, as page data means nothing to a decoder.
 */
import { type Input, MAX_INPUT_BYTES, type Piece } from './input.ts';
import type { Random } from './random.ts';
import { mendPackages } from './seeds.ts';

/** Where lengths, counts, offsets and flags turn over. */
const interesting = [
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x0a, 0x0b, 0x10, 0x20, 0x40, 0x7e, 0x7f, 0x80, 0xfe, 0xff, 0x100, 0x200],
  ...[0x3ff, 0x400, 0xfff, 0x1000, 0x1001, 0x1008, 0x2000, 0x3000, 0x4000, 0x5000, 0x7fff, 0x8000, 0xffff, 0x10000],
  ...[0x200000, 0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff, 2 ** 32, 2 ** 32 + 0x1000, 2 ** 43, 2 ** 44],
  ...[2 ** 53 - 0x1000, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 2 ** 64 - 0x1000],
];
const widths = [1, 2, 4, 8] as const;

/** Of a record: its head, which most changes go to. */
const HEAD_BYTES = 40;
/** One change in so many goes anywhere. */
const ANYWHERE = 8;
const MAX_CHANGES = 4;

export class Mutator {
  readonly #random: Random;
  readonly #pieces: Piece[] = [];
  /** Where each piece begins in the bytes. */
  readonly #starts: number[] = [];
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #length = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** Writes a changed `input` to the beginning of `into` and returns its length. `donor` gives records. */
  mutate(input: Input, donor: Input, into: Uint8Array): number {
    const random = this.#random;
    this.#pieces.length = 0;
    this.#pieces.push(...input.pieces);
    const movesRecords = random.once(3);
    if (movesRecords) this.#changeRecords(donor.pieces);
    this.#lay(into);
    // Some inputs are only put together anew, so that what comes behind a seam is reached.
    if (!movesRecords || !random.once(3)) {
      const changes = 1 + random.below(MAX_CHANGES);
      for (let i = 0; i < changes && this.#length > 0; i++) this.#changeBytes();
    }
    return this.#length;
  }

  #changeRecords(donor: readonly Piece[]): void {
    const random = this.#random;
    const pieces = this.#pieces;
    const changes = 1 + random.below(2);
    for (let i = 0; i < changes && pieces.length > 0; i++) {
      const at = random.below(pieces.length);
      const to = random.below(pieces.length + 1);
      switch (random.below(6)) {
        case 0:
          pieces.splice(at, 1 + random.below(3));
          break;
        case 1:
          pieces.splice(to, 0, pieces[at]);
          break;
        case 2: {
          const [moved] = pieces.splice(at, 1);
          pieces.splice(Math.min(to, pieces.length), 0, moved);
          break;
        }
        case 3:
          pieces.splice(to, 0, random.pick(donor));
          break;
        case 4: {
          const from = random.below(donor.length);
          pieces.splice(to, pieces.length, ...donor.slice(from, from + 1 + random.below(12)));
          break;
        }
        default:
          pieces[at] = { bytes: random.pick(donor).bytes, packaged: pieces[at].packaged };
      }
    }
    if (!random.once(4)) mendPackages(pieces);
  }

  /** Lays the pieces one behind the other, as many as there is room for. */
  #lay(into: Uint8Array): void {
    this.#bytes = into;
    if (this.#view.buffer !== into.buffer) this.#view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    this.#starts.length = 0;
    let at = 0;
    for (const { bytes } of this.#pieces) {
      if (at + bytes.length > MAX_INPUT_BYTES) break;
      this.#starts.push(at);
      into.set(bytes, at);
      at += bytes.length;
    }
    this.#length = at;
  }

  #changeBytes(): void {
    const random = this.#random;
    const bytes = this.#bytes;
    const at = this.#place();
    switch (random.below(16)) {
      case 0:
      case 1:
      case 2:
        bytes[at] ^= 1 << random.below(8);
        break;
      case 3:
      case 4:
        bytes[at] = random.next();
        break;
      case 5:
      case 6:
        bytes[at] = random.pick(interesting) & 0xff;
        break;
      case 7:
      case 8:
      case 9:
        this.#setField(at, random.pick(widths), random.pick(interesting) + random.below(3) - 1);
        break;
      case 10:
      case 11: {
        const width = random.pick(widths);
        this.#setField(at, width, this.#field(at, width) + random.below(17) - 8);
        break;
      }
      case 12:
        this.#length = at;
        break;
      case 13:
        this.#insert(at, 1 + random.below(8));
        break;
      case 14:
        this.#remove(at, 1 + random.below(8));
        break;
      default:
        this.#copy(at, this.#place(), 1 + random.below(32));
    }
  }

  #place(): number {
    const random = this.#random;
    if (random.once(ANYWHERE)) return random.below(this.#length);
    const at = random.pick(this.#starts) + random.below(HEAD_BYTES);
    return at < this.#length ? at : random.below(this.#length);
  }

  #field(at: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width && at + i < this.#length; i++) value = value * 256 + this.#bytes[at + i];
    return value;
  }

  #setField(at: number, width: number, value: number): void {
    if (at + width > this.#length) return;
    const low = value % 2 ** 32;
    if (width === 8) {
      this.#view.setUint32(at, Math.floor(value / 2 ** 32));
      this.#view.setUint32(at + 4, low);
    } else if (width === 4) this.#view.setUint32(at, low);
    else if (width === 2) this.#view.setUint16(at, low);
    else this.#bytes[at] = low;
  }

  #insert(at: number, count: number): void {
    if (this.#length + count > MAX_INPUT_BYTES) return;
    this.#bytes.copyWithin(at + count, at, this.#length);
    for (let i = 0; i < count; i++) this.#bytes[at + i] = this.#random.next();
    this.#length += count;
  }

  #remove(at: number, count: number): void {
    const removed = Math.min(count, this.#length - at);
    this.#bytes.copyWithin(at, at + removed, this.#length);
    this.#length -= removed;
  }

  #copy(to: number, from: number, count: number): void {
    this.#bytes.copyWithin(to, from, Math.min(from + count, from + this.#length - to, this.#length));
  }
}
