/**
 * Feeds a recorded stream to the incremental decoders in pieces, the way a receiving thread does, and keeps
 * what came out in a form that no longer depends on how it was cut.
 */
import type { StreamDecoder } from '#lib/wire/decode.js';
import type { StreamRecord } from '#lib/wire/messages.js';

/** A record with its data as {@link text}: pages by block name, the pieces of a device body joined. */
export type Plain = { readonly type: string } & Readonly<Record<string, unknown>>;

export interface Fed {
  readonly records: readonly Plain[];
  /** What the decoder threw, if it did. */
  readonly error: unknown;
  /** Bytes given that no record took. */
  readonly left: number;
}

export interface FeedOptions {
  /** Sizes of the pieces, repeated; whole by default. */
  readonly cuts?: readonly number[];
  /** Whether the input ends behind the bytes; true by default. */
  readonly ends?: boolean;
  /** What stands around the bytes in the buffer, where decoders must not look; none by default. */
  readonly poison?: number;
}

/** Gives all of `bytes` to the decoder and, for each package, to the decoder of that. */
export function feed(decoder: StreamDecoder, bytes: Uint8Array, options: FeedOptions = {}): Fed {
  const { cuts = [Math.max(1, bytes.length)], ends = true, poison } = options;
  const records: Plain[] = [];
  const bodies = new Map<StreamDecoder, Uint8Array[]>();
  const stack = [{ decoder, end: bytes.length }];
  let taken = 0;
  let given = 0;
  const drain = () => {
    const { buffer, start } = place(bytes.subarray(taken, given), poison);
    const view = new DataView(buffer.buffer);
    const shift = start - taken;
    for (;;) {
      const top = stack.at(-1)!;
      const record = top.decoder.next(buffer, view, taken + shift, Math.min(given, top.end) + shift);
      if (record === undefined) {
        if (stack.length === 1 || taken < top.end) return;
        stack.pop();
        continue;
      }
      taken += top.decoder.consumed;
      const kept = plain(record, buffer, bodies, top.decoder);
      if (kept !== undefined) records.push(kept);
      if (record.type === 'command' && record.command === 'PACKAGED') {
        stack.push({ decoder: top.decoder.package(), end: taken + record.length });
      }
    }
  };
  try {
    for (let i = 0; given < bytes.length; i++) {
      given = Math.min(bytes.length, given + cuts[i % cuts.length]);
      drain();
    }
    if (ends) {
      for (const { decoder: each } of stack) each.endOfInput();
      drain();
    }
    return { records, error: undefined, left: bytes.length - taken };
  } catch (error) {
    return { records, error, left: bytes.length - taken };
  }
}

/** The bytes in a buffer of their own: just as large, so that reading on fails, or with poison around. */
function place(bytes: Uint8Array, poison: number | undefined): { buffer: Uint8Array; start: number } {
  if (poison === undefined) return { buffer: bytes.slice(), start: 0 };
  const margin = 300;
  const buffer = new Uint8Array(bytes.length + 2 * margin).fill(poison);
  buffer.set(bytes, margin);
  return { buffer, start: margin };
}

function plain(
  record: StreamRecord,
  buffer: Uint8Array,
  bodies: Map<StreamDecoder, Uint8Array[]>,
  decoder: StreamDecoder,
): Plain | undefined {
  if (record.type === 'page') {
    const { type, kind, block, offset, fill, dataStart, dataLength } = record;
    return {
      type,
      kind,
      idstr: block.idstr,
      offset,
      fill,
      data: text(buffer.subarray(dataStart, dataStart + dataLength)),
    };
  }
  if (record.type !== 'device-data') return { ...record };
  const pieces = bodies.get(decoder) ?? [];
  pieces.push(buffer.slice(record.dataStart, record.dataStart + record.dataLength));
  bodies.set(decoder, pieces);
  if (!record.last) return undefined;
  bodies.delete(decoder);
  return { type: 'device-data', id: record.id, idstr: record.idstr, data: text(joined(pieces)) };
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes as a string, one character a byte: test runners compare strings much faster than arrays. */
export function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
