/** The device sections as they come in, by name: bodies put together from their pieces. Main thread only. */
import { MigrationError } from '../errors.js';
import { concatenate } from '../memory/bytes.js';

/** Bytes of all bodies together; a peer that sends more is not sending device state. */
const BYTES_MAX = 128 * 1024 * 1024;

export class DeviceStates {
  readonly #pieces = new Map<string, Uint8Array[]>();
  #bytes = 0;

  /** Adds a copy of a piece of a section's body. */
  add(idstr: string, piece: Uint8Array): void {
    this.#bytes += piece.length;
    if (this.#bytes > BYTES_MAX)
      throw new MigrationError('STREAM_CORRUPT', `more than ${BYTES_MAX} bytes of device state`);
    const pieces = this.#pieces.get(idstr) ?? [];
    pieces.push(piece.slice());
    this.#pieces.set(idstr, pieces);
  }

  /** Whether anything of it has come, and was not taken. */
  has(idstr: string): boolean {
    return this.#pieces.has(idstr);
  }

  /** The whole body, once. Throws GUEST_MISMATCH if the source sent none; `offset` is where it was missed. */
  take(idstr: string, offset: number): Uint8Array {
    const pieces = this.#pieces.get(idstr);
    if (pieces === undefined) {
      throw new MigrationError('GUEST_MISMATCH', `the source sent no section "${idstr}" before offset ${offset}`, {
        offset,
      });
    }
    this.#pieces.delete(idstr);
    return concatenate(pieces);
  }
}
