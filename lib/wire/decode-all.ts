/**
 * Decodes a recorded stream that is there whole, packages included: for inspection and tests.
 *
 * Pure; any thread. Unlike the incremental decoders it returns records that stay as they are.
 */
import { type StreamContext, StreamDecoder, type StreamDecoderOptions } from './decode.js';
import type { ReturnPathMessageRecord, StreamRecord } from './messages.js';
import { ReturnPathDecoder, type ReturnPathDecoderOptions } from './return-path.js';

/** A record, where it begins in the stream, and whether inside a package. */
export type Located<R> = R & { readonly recordOffset: number; readonly packaged: boolean };

/**
 * Yields every record of `bytes` in order, those of a package right behind its PACKAGED; `dataStart` is an
 * index into `bytes`. Returns what a decoder of the migration's next connection needs.
 *
 * @throws WireError where the stream is broken or, after all whole records, cut
 */
export function* decodeAll(
  bytes: Uint8Array,
  options: StreamDecoderOptions = {},
): Generator<Located<StreamRecord>, StreamContext> {
  const decoder = new StreamDecoder(options);
  yield* records(decoder, bytes, 0, bytes.length, false);
  return decoder.context();
}

function* records(
  decoder: StreamDecoder,
  bytes: Uint8Array,
  from: number,
  end: number,
  packaged: boolean,
): Generator<Located<StreamRecord>, void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  decoder.endOfInput();
  let at = from;
  for (;;) {
    const record = decoder.next(bytes, view, at, end);
    if (record === undefined) return;
    at += decoder.consumed;
    yield { ...record, recordOffset: decoder.recordOffset, packaged };
    if (record.type === 'command' && record.command === 'PACKAGED') {
      const inner = decoder.package();
      const packageEnd = Math.min(at + record.length, end);
      yield* records(inner, bytes, at, packageEnd, true);
      at = packageEnd;
    }
  }
}

/** Yields every message of a recorded return path. @throws WireError where it is broken or cut */
export function* decodeReturnPath(
  bytes: Uint8Array,
  options: ReturnPathDecoderOptions = {},
): Generator<ReturnPathMessageRecord & { readonly recordOffset: number }, void> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new ReturnPathDecoder(options);
  decoder.endOfInput();
  let at = 0;
  for (;;) {
    const record = decoder.next(bytes, view, at, bytes.length);
    if (record === undefined) return;
    at += decoder.consumed;
    yield { ...record, recordOffset: decoder.recordOffset };
  }
}
