/** A recording in memory, as inspection reads it; in pieces of a chosen size. */
import type { ByteSource } from '#lib/inspect/byte-source.js';

export function memorySource(bytes: Uint8Array, pieceBytes = 64 * 1024): ByteSource {
  let position = 0;
  return {
    gzip: false,
    size: bytes.length,
    get position() {
      return position;
    },
    read: async (into) => {
      const length = Math.min(pieceBytes, into.length, bytes.length - position);
      into.set(bytes.subarray(position, position + length));
      position += length;
      return length;
    },
    close: async () => {},
  };
}
