/** The answers to a source that recovers, and what pauses a migration at all. */
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDestinationCounters } from '#lib/destination/destination-counters.js';
import { answerRecovery, isOfConnection, receivedBitmap } from '#lib/destination/recovery.js';
import { ARENA_BYTES, StreamReader } from '#lib/destination/stream-reader.js';
import { errorCodes, MigrationError } from '#lib/errors.js';
import { PageBitmap } from '#lib/memory/bitmap.js';
import * as encode from '#lib/wire/encode.js';
import type { ReturnPathMessageRecord } from '#lib/wire/messages.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';
import { type ChannelPair, channelPair } from '../../testing/channel-pair.ts';

describe('receivedBitmap', () => {
  test('has a bit for each page, in whole units of 8 bytes, the rest of them 0', () => {
    fc.assert(
      fc.property(
        fc
          .integer({ min: 1, max: 300 })
          .chain((count) => fc.record({ count: fc.constant(count), set: fc.uniqueArray(fc.nat(count - 1)) })),
        ({ count, set }) => {
          const pages = new PageBitmap(count);
          for (const page of set) pages.set(page);
          const bytes = receivedBitmap(pages);
          expect(bytes.length).toBe(Math.ceil(count / 64) * 8);
          const found = Array.from({ length: bytes.length * 8 }, (_, i) => i).filter(
            (i) => ((bytes[Math.floor(i / 8)] >> (i % 8)) & 1) === 1,
          );
          expect(found).toEqual([...set].sort((a, b) => a - b));
        },
      ),
    );
  });

  test('a block that is all here says so of no page behind its end', () => {
    const pages = new PageBitmap(35);
    pages.setAll();
    expect([...receivedBitmap(pages)]).toEqual([255, 255, 255, 255, 7, 0, 0, 0]);
  });
});

test('what is of the connection pauses, what is of the guest or the host does not', () => {
  const codes = Object.keys(errorCodes) as (keyof typeof errorCodes)[];
  expect(codes.filter((code) => isOfConnection(new MigrationError(code, 'x')))).toEqual([
    'ILLEGAL_COMMAND',
    'PAGES_MISSING',
    'PEER_GONE',
    'STREAM_CORRUPT',
    'UNSUPPORTED',
  ]);
  expect(isOfConnection(Object.assign(new Error('EIO'), { code: 'PEER_GONE' }))).toBe(false);
});

describe('answerRecovery', () => {
  const blocks = [{ idstr: 'ram' }, { idstr: 'rom' }];
  const received = [new PageBitmap(70), new PageBitmap(3)];
  received[0].setRange(60, 10);
  received[1].set(1);
  const position = {
    start: 0,
    end: 0,
    offset: 0,
    context: {
      targetPageSize: 4096,
      pageSizeSummary: 4096,
      ignoreShared: false,
      mayHaveRuns: false,
      sections: [],
      blocks: blocks.map(({ idstr }, index) => ({ index, idstr, usedLength: received[index].pageCount * 4096 })),
    },
    lastBlock: undefined,
  };
  let pair: ChannelPair;

  beforeEach(() => {
    pair = channelPair();
  });
  afterEach(() => pair.close());

  function answer(...said: Uint8Array[]): void {
    for (const bytes of said) pair.far.send(bytes);
    read();
  }

  function read(): void {
    const reader = new StreamReader(
      pair.near,
      new SharedArrayBuffer(ARENA_BYTES),
      createDestinationCounters(),
      position,
    );
    answerRecovery(reader, pair.near, blocks, received);
  }

  function heard(): ReturnPathMessageRecord[] {
    const bytes = new Uint8Array(4096);
    const count = pair.far.receive(bytes, 0, bytes.length);
    const decoder = new ReturnPathDecoder();
    const messages: ReturnPathMessageRecord[] = [];
    for (let at = 0; at < count; at += decoder.consumed) {
      const message = decoder.next(bytes, new DataView(bytes.buffer), at, count);
      if (message === undefined) throw new Error('cut');
      messages.push({ ...message });
    }
    return messages;
  }

  test('each question its bitmap, in any order and as often as asked; then the end of it is acknowledged', () => {
    answer(
      encode.encodeRecvBitmap('rom'),
      encode.encodePing(9),
      encode.encodeRecvBitmap('ram'),
      encode.encodeRecvBitmap('rom'),
      encode.encodePostcopyResume(),
    );
    const rom = { type: 'RECV_BITMAP', idstr: 'rom', bitmap: receivedBitmap(received[1]) };
    expect(heard()).toEqual([
      rom,
      { type: 'PONG', value: 9 },
      { type: 'RECV_BITMAP', idstr: 'ram', bitmap: receivedBitmap(received[0]) },
      rom,
      { type: 'RESUME_ACK', value: 1 },
    ]);
  });

  test.each<[string, Uint8Array[], string]>([
    ['the source goes', [encode.encodeRecvBitmap('ram')], 'PEER_GONE'],
    ['a question that is cut', [encode.encodeRecvBitmap('ram').subarray(0, 5)], 'PEER_GONE'],
    ['a block that there is not', [encode.encodeRecvBitmap('vga')], 'STREAM_CORRUPT'],
    ['a header', [encode.encodeHeader()], 'STREAM_CORRUPT'],
    ['another command', [encode.encodePostcopyListen()], 'ILLEGAL_COMMAND'],
    ['the end', [encode.encodeEof()], 'ILLEGAL_COMMAND'],
  ])('%s: no', (_what, said, code) => {
    for (const bytes of said) pair.far.send(bytes);
    pair.closeFar();
    expect(read).toThrow(expect.objectContaining({ code }));
  });
});
