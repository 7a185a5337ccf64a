/** The return path: each message, each way to break it, and random cuts. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as encode from '#lib/wire/encode.js';
import { WireError, type WireErrorCode } from '#lib/wire/errors.js';
import type { ReturnPathMessageRecord } from '#lib/wire/messages.js';
import { ReturnPathDecoder, type ReturnPathDecoderOptions } from '#lib/wire/return-path.js';
import { joined } from '../../testing/feed.js';

interface Message {
  readonly bytes: Uint8Array;
  readonly record: ReturnPathMessageRecord;
}

const u32 = fc.nat(0xffffffff);
const name = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 255 });

function reqPages(start: number, length: number, idstr?: string): Uint8Array {
  const bytes = new Uint8Array(encode.MAX_REQ_PAGES_BYTES);
  const named = idstr === undefined ? undefined : encode.encodeIdstr(idstr);
  return bytes.subarray(0, encode.encodeReqPages(new DataView(bytes.buffer), 0, start, length, named));
}

const message: fc.Arbitrary<Message> = fc.oneof(
  u32.map((value): Message => ({ bytes: encode.encodeShut(value), record: { type: 'SHUT', value } })),
  u32.map((value): Message => ({ bytes: encode.encodePong(value), record: { type: 'PONG', value } })),
  fc.constant<Message>({ bytes: encode.encodeResumeAck(), record: { type: 'RESUME_ACK', value: 1 } }),
  fc.constant<Message>({ bytes: encode.encodeSwitchoverAck(), record: { type: 'SWITCHOVER_ACK' } }),
  fc.tuple(fc.nat(2 ** 52), fc.integer({ min: 1, max: 0xffffffff }), fc.option(name, { nil: undefined })).map(
    ([start, length, idstr]): Message => ({
      bytes: reqPages(start, length, idstr),
      record: { type: 'REQ_PAGES', start, length, ...(idstr !== undefined && { idstr }) },
    }),
  ),
  fc
    .tuple(name, fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 5 }))
    .map(([idstr, words]): Message => {
      const bitmap = new Uint8Array(BigUint64Array.from(words).buffer);
      return { bytes: encode.encodeRecvBitmapReply(idstr, bitmap), record: { type: 'RECV_BITMAP', idstr, bitmap } };
    }),
);

/** Decodes pieces of `bytes` as they come, each in a buffer that ends where the piece ends, or is poisoned. */
function decode(bytes: Uint8Array, cuts: readonly number[], options: ReturnPathDecoderOptions = {}, poison?: number) {
  const decoder = new ReturnPathDecoder(options);
  const records: ReturnPathMessageRecord[] = [];
  const margin = poison === undefined ? 0 : 100;
  let taken = 0;
  let given = 0;
  try {
    for (let i = 0; given < bytes.length; i++) {
      given = Math.min(bytes.length, given + cuts[i % cuts.length]);
      const buffer = new Uint8Array(given + 2 * margin).fill(poison ?? 0);
      buffer.set(bytes.subarray(0, given), margin);
      const view = new DataView(buffer.buffer);
      for (;;) {
        const record = decoder.next(buffer, view, margin + taken, margin + given);
        if (record === undefined) break;
        taken += decoder.consumed;
        expect(decoder.offset).toBe(taken);
        records.push(record);
      }
      expect(decoder.needed).toBeGreaterThan(given - taken);
    }
    decoder.endOfInput();
    decoder.next(bytes, new DataView(bytes.buffer, bytes.byteOffset), taken, given);
    return { records, error: undefined };
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return { records, error };
  }
}

const cutSizes = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 10 });

describe('any messages', () => {
  test('decode to what was encoded, however they are cut', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 10 }), cutSizes, (messages, cuts) => {
        const bytes = joined(messages.map((each) => each.bytes));
        const records = messages.map((each) => each.record);
        for (const sizes of [[bytes.length + 1], [1], cuts])
          expect(decode(bytes, sizes)).toEqual({ records, error: undefined });
      }),
    );
  });

  test('cut short give the first ones, then TRUNCATED', () => {
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), fc.nat(), (messages, place) => {
        const bytes = joined(messages.map((each) => each.bytes));
        const part = bytes.slice(0, place % bytes.length);
        const { records, error } = decode(part, [1000]);
        expect(records).toEqual(messages.slice(0, records.length).map((each) => each.record));
        const whole = joined(messages.slice(0, records.length).map((each) => each.bytes)).length;
        if (whole === part.length) expect(error).toBeUndefined();
        else expect(error).toMatchObject({ code: 'TRUNCATED', offset: whole });
      }),
    );
  });

  test('with flipped bytes throw nothing but a WireError, and are not read beyond their end', () => {
    const flips = fc.array(fc.record({ at: fc.nat(), value: fc.integer({ min: 1, max: 255 }) }), {
      minLength: 1,
      maxLength: 3,
    });
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 5 }), flips, cutSizes, (messages, changes, cuts) => {
        const bytes = joined(messages.map((each) => each.bytes));
        for (const { at, value } of changes) bytes[at % bytes.length] ^= value;
        const exact = decode(bytes, cuts);
        expect(decode(bytes, cuts, {}, 0x00)).toEqual(exact);
        expect(decode(bytes, cuts, {}, 0xff)).toEqual(exact);
      }),
    );
  });
});

const bytes = (...values: number[]) => Uint8Array.from(values);
const bitmapOf = (size: readonly number[]) => joined([bytes(0, 5, 0, 2, 1, 65), Uint8Array.from(size)]);
const known: ReturnPathDecoderOptions = { bitmapBytes: (idstr) => (idstr === 'A' ? 16 : undefined) };
const wrongMark = encode.encodeRecvBitmapReply('A', new Uint8Array(8));
wrongMark[wrongMark.length - 1] ^= 1;

const broken: {
  what: string;
  code: WireErrorCode;
  record: string;
  bad: Uint8Array;
  options?: ReturnPathDecoderOptions;
}[] = [
  { what: 'message 0', code: 'UNKNOWN_MESSAGE', record: 'return path', bad: bytes(0, 0) },
  { what: 'message 8', code: 'UNKNOWN_MESSAGE', record: 'return path', bad: bytes(0, 8) },
  { what: 'PONG of 8 bytes, seen in its head', code: 'BAD_LENGTH', record: 'PONG', bad: bytes(0, 2, 0, 8) },
  { what: 'SWITCHOVER_ACK with a payload', code: 'BAD_LENGTH', record: 'SWITCHOVER_ACK', bad: bytes(0, 7, 0, 1) },
  { what: 'a request of nothing', code: 'BAD_VALUE', record: 'REQ_PAGES', bad: reqPages(0, 0) },
  { what: 'a request at 2^60', code: 'BAD_VALUE', record: 'REQ_PAGES', bad: reqPages(2 ** 60, 4096) },
  {
    what: 'a name shorter than the message',
    code: 'BAD_LENGTH',
    record: 'REQ_PAGES_ID',
    bad: joined([bytes(0, 3, 0, 15), reqPages(0, 1).slice(4), bytes(1, 65, 66)]),
  },
  {
    what: 'a name longer than the message',
    code: 'BAD_LENGTH',
    record: 'REQ_PAGES_ID',
    bad: joined([bytes(0, 3, 0, 15), reqPages(0, 1).slice(4), bytes(200, 65, 66)]),
  },
  {
    what: 'a name that is not text',
    code: 'BAD_NAME',
    record: 'REQ_PAGES_ID',
    bad: joined([bytes(0, 3, 0, 14), reqPages(0, 1).slice(4), bytes(1, 0)]),
  },
  {
    what: 'a bitmap above the limit, before it comes',
    code: 'LIMIT',
    record: 'RECV_BITMAP',
    bad: bitmapOf([0xff, 0, 0, 0, 0, 0, 0, 0]),
  },
  {
    what: 'a bitmap above a limit of ours',
    code: 'LIMIT',
    record: 'RECV_BITMAP',
    bad: bitmapOf([0, 0, 0, 0, 0, 0, 0, 16]),
    options: { limits: { maxBitmapBytes: 8 } },
  },
  { what: 'a bitmap of 12 bytes', code: 'BAD_LENGTH', record: 'RECV_BITMAP', bad: bitmapOf([0, 0, 0, 0, 0, 0, 0, 12]) },
  {
    what: 'a bitmap of another size than its block',
    code: 'BAD_LENGTH',
    record: 'RECV_BITMAP',
    bad: bitmapOf([0, 0, 0, 0, 0, 0, 0, 8]),
    options: known,
  },
  {
    what: 'a bitmap of no block',
    code: 'UNKNOWN_RAM_BLOCK',
    record: 'RECV_BITMAP',
    bad: encode.encodeRecvBitmapReply('B', new Uint8Array(16)),
    options: known,
  },
  { what: 'another end mark', code: 'BAD_VALUE', record: 'RECV_BITMAP', bad: wrongMark },
];

describe('a return path with one fault', () => {
  test.each(broken)('$what: $code', ({ code, record, bad, options }) => {
    const good = encode.encodePong(7);
    for (const cuts of [[1000], [1]]) {
      const { records, error } = decode(joined([good, bad]), cuts, options);
      expect(records).toEqual([{ type: 'PONG', value: 7 }]);
      expect(error).toMatchObject({ code, record });
      expect(error!.offset).toBeGreaterThanOrEqual(good.length);
      expect(error!.offset).toBeLessThan(good.length + bad.length);
    }
  });

  test('stays failed', () => {
    const decoder = new ReturnPathDecoder({ startOffset: 100 });
    const bad = bytes(0, 0, 0, 0);
    const next = () => decoder.next(bad, new DataView(bad.buffer), 0, 4);
    expect(next).toThrow(expect.objectContaining({ code: 'UNKNOWN_MESSAGE', offset: 100 }));
    expect(next).toThrow(expect.objectContaining({ offset: 100 }));
  });
});

test('a bitmap that its block takes is a copy', () => {
  const bitmap = new Uint8Array(16).fill(0x5a);
  const received = encode.encodeRecvBitmapReply('A', bitmap);
  const record = new ReturnPathDecoder(known).next(received, new DataView(received.buffer), 0, received.length);
  received.fill(0);
  expect(record).toEqual({ type: 'RECV_BITMAP', idstr: 'A', bitmap });
});
