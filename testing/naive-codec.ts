/**
 * A second decoder of RAM sections, written straight from the layout and sharing nothing with lib/wire:
 * the oracle for pages. Also unpacks what lib/wire only frames. Slow, whole input at once, BigInt and literal
 * numbers on purpose.
 */

export interface NaivePage {
  readonly block: string;
  readonly offset: bigint;
  readonly kind: 'normal' | 'zero' | 'xbzrle' | 'compressed';
  readonly fill: number;
  readonly data: Uint8Array;
}

/** The pages from index `from` up to the EOS word, and the index behind it. Throws for anything it does not know. */
export function naiveRamSection(
  bytes: Uint8Array,
  from: number,
  lastBlock = '',
  pageSize = 4096,
): {
  pages: NaivePage[];
  end: number;
  lastBlock: string;
} {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pages: NaivePage[] = [];
  let block = lastBlock;
  let at = from;
  for (;;) {
    const word = view.getBigUint64(at);
    at += 8;
    if (word === 0x10n) return { pages, end: at, lastBlock: block };
    const offset = word - (word % BigInt(pageSize));
    let flags = Number(word % BigInt(pageSize));
    if (flags >= 0x20 && Math.floor(flags / 0x20) % 2 === 1) {
      flags -= 0x20;
    } else {
      block = Array.from(bytes.slice(at + 1, at + 1 + bytes[at]), (byte) => String.fromCharCode(byte)).join('');
      at += 1 + bytes[at];
    }
    const take = (length: number) => {
      if (at + length > bytes.length) throw new Error('the section is cut');
      at += length;
      return bytes.slice(at - length, at);
    };
    if (flags === 2) {
      pages.push({ block, offset, kind: 'zero', fill: take(1)[0], data: new Uint8Array(0) });
    } else if (flags === 8) {
      pages.push({ block, offset, kind: 'normal', fill: 0, data: take(pageSize) });
    } else if (flags === 0x40) {
      const [encoding, high, low] = take(3);
      if (encoding !== 1) throw new Error(`xbzrle encoding ${encoding}`);
      pages.push({ block, offset, kind: 'xbzrle', fill: 0, data: take(high * 256 + low) });
    } else if (flags === 0x100) {
      const [a, b, c, d] = take(4);
      pages.push({ block, offset, kind: 'compressed', fill: 0, data: take(((a * 256 + b) * 256 + c) * 256 + d) });
    } else {
      throw new Error(`flags ${flags}`);
    }
  }
}

/** Changes `page` as an xbzrle record says: runs of kept bytes and of new ones, by turns. */
export function naiveXbzrle(page: Uint8Array, encoded: Uint8Array): void {
  let at = 0;
  let place = 0;
  const number = () => {
    const low = encoded[at++];
    return low < 0x80 ? low : low - 0x80 + 0x80 * encoded[at++];
  };
  while (at < encoded.length) {
    place += number();
    const length = number();
    page.set(encoded.subarray(at, at + length), place);
    place += length;
    at += length;
  }
}
