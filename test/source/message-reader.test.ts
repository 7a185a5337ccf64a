/** Messages one after the other: cut anywhere, up to the last or the end, and what is left when the peer closes. */
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Channel } from '#lib/channel/channel.js';
import { concatenate } from '#lib/memory/bytes.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { handleMessages, readMessages } from '#lib/source/message-reader.js';
import { encodePong, encodeShut } from '#lib/wire/encode.js';
import type { ReturnPathMessageRecord } from '#lib/wire/messages.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';

const { eventfdClose, eventfdCreate, socketClose, socketPair, socketSend, socketShutdown } = native();
const stream = concatenate([1, 2, 3].map(encodePong));

let kick: EventfdHandle;
let pair: readonly [SocketHandle, SocketHandle];
beforeEach(() => {
  kick = eventfdCreate();
  pair = socketPair();
});
afterEach(() => {
  for (const socket of pair) socketClose(socket);
  eventfdClose(kick);
});

const numberIn = (message: ReturnPathMessageRecord): number => (message as { readonly value: number }).value;

/** What comes until the end, and how it ended; `idle` counts the waits. */
function readAll(...sent: Uint8Array[]) {
  const bytes = concatenate(sent);
  socketSend(pair[1], kick, bytes, 0, bytes.length);
  socketShutdown(pair[1]);
  const values: number[] = [];
  let waits = 0;
  const isLast = (message: ReturnPathMessageRecord) => {
    values.push(numberIn(message));
    return message.type === 'SHUT';
  };
  const channel = new Channel({ socket: pair[0], peer: 'the tester' }, kick);
  const ended = readMessages(channel, new ReturnPathDecoder(), 64, isLast, () => {
    waits += 1;
  });
  return { values, ended, waits };
}

test('up to the message that is the last: what is behind it is not looked at', () => {
  expect(readAll(stream, encodeShut(9), Uint8Array.of(255, 255))).toMatchObject({ values: [1, 2, 3, 9], ended: true });
});

test('up to the end between two messages, with a moment before each wait', () => {
  const { values, ended, waits } = readAll(stream);
  expect({ values, ended }).toEqual({ values: [1, 2, 3], ended: false });
  expect(waits).toBeGreaterThan(1);
});

test('an end within a message is a peer that has gone', () => {
  expect(() => readAll(stream.subarray(0, stream.length - 1))).toThrow(
    expect.objectContaining({ code: 'PEER_GONE', message: expect.stringContaining('within a message') }),
  );
});

test('what is no message is said so', () => {
  expect(() => readAll(Uint8Array.of(0xff, 0xff, 0, 0))).toThrow(expect.objectContaining({ code: 'STREAM_CORRUPT' }));
});

test('however the bytes are cut, each message once and in order (property)', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: stream.length })), (cuts) => {
      const decoder = new ReturnPathDecoder();
      const view = new DataView(stream.buffer, stream.byteOffset, stream.length);
      const values: number[] = [];
      const take = (message: ReturnPathMessageRecord) => {
        values.push(numberIn(message));
        return false;
      };
      let start = 0;
      for (const end of [...cuts.sort((one, other) => one - other), stream.length])
        start = handleMessages(decoder, take, stream, view, start, Math.max(start, end));
      expect(values).toEqual([1, 2, 3]);
      expect(start).toBe(stream.length);
    }),
  );
});
