/** The numbers of a WebAssembly binary: LEB128, seven bits a byte, the low ones first. Pure. */

/** The shortest encoding of an unsigned number of up to 32 bits. */
export function encodeU32(value: number): number[] {
  const bytes: number[] = [];
  let rest = value >>> 0;
  while (rest >= 0x80) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return bytes;
}

/** Thrown for a number, a name or a part that is not there whole, or is none. */
export class BinaryError extends Error {
  override readonly name = 'BinaryError';

  constructor(what: string, offset: number) {
    super(`${what} at byte ${offset}`);
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
/** Of the largest number there is, one of 64 bits. */
const NUMBER_BYTES_MAX = 10;

/** Reads [at, end) of a binary. Every call throws {@link BinaryError} rather than look beyond the end. */
export class BinaryReader {
  constructor(
    readonly bytes: Uint8Array,
    public at = 0,
    readonly end = bytes.length,
  ) {}

  get left(): number {
    return this.end - this.at;
  }

  /** Steps over `length` bytes; returns the index of the first. */
  skip(length: number): number {
    if (length > this.left) throw new BinaryError('the binary ends', this.end);
    const at = this.at;
    this.at += length;
    return at;
  }

  byte(): number {
    return this.bytes[this.skip(1)];
  }

  /** An unsigned number of up to 32 bits. */
  u32(): number {
    const from = this.at;
    let value = 0;
    for (let place = 0; place < 5; place++) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** (7 * place);
      if (byte >= 0x80) continue;
      if (value >= 2 ** 32) break;
      return value;
    }
    throw new BinaryError('a number of more than 32 bits', from);
  }

  /** Steps over a number of up to 64 bits, signed or not. */
  skipNumber(): void {
    const from = this.at;
    for (let length = 1; length <= NUMBER_BYTES_MAX; length++) {
      if (this.byte() < 0x80) return;
    }
    throw new BinaryError('a number of more than 64 bits', from);
  }

  /** UTF-8 behind its length. */
  text(): string {
    const length = this.u32();
    const from = this.skip(length);
    try {
      return utf8.decode(this.bytes.subarray(from, from + length));
    } catch {
      throw new BinaryError('a name that is not UTF-8', from);
    }
  }

  /** The next `length` bytes, for themselves. */
  part(length: number): BinaryReader {
    const from = this.skip(length);
    return new BinaryReader(this.bytes, from, from + length);
  }
}
