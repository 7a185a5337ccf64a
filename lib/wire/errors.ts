/**
 * What is thrown for bytes that break the protocol: one class, a stable code, the place.
 *
 * Any thread. Invariant: whatever a peer sends, decoders throw this and nothing else.
 */

/** Every code a {@link WireError} can have, and what it says. */
export const wireErrorCodes = {
  BAD_MAGIC: "The stream does not begin with QEMU's magic number.",
  BAD_VERSION: 'The stream, or a part of it, has a version other than the one this codec speaks.',
  BAD_LENGTH: 'A payload is not as long as its kind allows, or its parts do not add up to it.',
  BAD_NAME: 'A name is empty or holds bytes other than printable ASCII.',
  BAD_VALUE: 'A field holds a value that its record does not allow.',
  BAD_FLAGS: 'The first word of a RAM record has no known meaning at this place.',
  UNKNOWN_SECTION_TYPE: 'A record begins with a byte that starts none.',
  UNKNOWN_SECTION_ID: 'A section continues one that was never started.',
  UNKNOWN_COMMAND: 'A command has a code that is not in the table.',
  UNKNOWN_MESSAGE: 'A return-path message has a code that is not in the table.',
  UNKNOWN_RAM_BLOCK: 'A record names a RAM block that is not in the block list, or none where it has to.',
  PAGE_OUT_OF_RANGE: 'A page or range does not lie inside its RAM block.',
  FOOTER_MISMATCH: 'A section does not end with its own footer.',
  DUPLICATE: 'A section id, a RAM block, the block list or a subsection is announced twice.',
  UNSUPPORTED: 'The stream uses a part of the protocol that this codec does not decode.',
  LIMIT: "A size or count is above the decoder's limit.",
  TRUNCATED: "The input ends inside a record, or before the stream's EOF.",
  TRAILING_BYTES: 'There are bytes after the end of the stream.',
} as const;

export type WireErrorCode = keyof typeof wireErrorCodes;

/** A stream that breaks the protocol. */
export class WireError extends Error {
  override readonly name = 'WireError';

  /**
   * @param code stable, one of {@link wireErrorCodes}
   * @param detail what is wrong, for people
   * @param offset where in the stream the offending field or record begins, in bytes
   * @param record the record being decoded, such as `page` or `PING`
   */
  constructor(
    readonly code: WireErrorCode,
    detail: string,
    readonly offset: number,
    readonly record: string,
  ) {
    super(`${record} at offset ${offset} (0x${offset.toString(16)}): ${detail}`);
  }
}
