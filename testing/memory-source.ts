/** A recording in memory, as inspection reads it; in pieces of a chosen size, or of what is chosen for each. */
import type { ByteSource } from '#lib/inspect/byte-source.js';

export function memorySource(bytes: Uint8Array, pieceBytes: number | (() => number) = 64 * 1024): ByteSource {
  const nextBytes = typeof pieceBytes === 'number' ? () => pieceBytes : pieceBytes;
  let position = 0;
  return {
    gzip: false,
    size: bytes.length,
    get position() {
      return position;
    },
    read: async (into) => {
      const length = Math.min(nextBytes(), into.length, bytes.length - position);
      into.set(bytes.subarray(position, position + length));
      position += length;
      return length;
    },
    close: async () => {},
  };
}
