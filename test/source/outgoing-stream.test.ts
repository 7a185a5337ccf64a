/** The outgoing stream: every byte that leaves is counted. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { OutgoingStream } from '#lib/source/outgoing-stream.js';
import { createSourceCounters } from '#lib/source/source-counters.js';
import { type ChannelPair, channelPair } from '../../testing/channel-pair.ts';

let pair: ChannelPair;

beforeEach(() => {
  pair = channelPair('the destination');
});

afterEach(() => {
  pair.close();
});

test('its offset is what the other end received', async () => {
  using block = RAMBlock.create({ idstr: 'ram', size: 64 * 4096 });
  const counters = createSourceCounters();
  const stream = new OutgoingStream(pair.near, counters);
  const received = pair.drainFar();
  expect(stream.offset).toBe(0);
  stream.send(new Uint8Array(100));
  expect(stream.offset).toBe(100);
  const pages = Uint32Array.from({ length: 64 }, (_, page) => page);
  const ends = Uint32Array.from({ length: 64 }, (_, page) => 8 * (page + 1));
  stream.sendPages(new Uint8Array(8 * 64), ends, block.handle, 4096, pages, 64, false);
  stream.limitQueue(64 * 1024);
  stream.send(new Uint8Array(1));
  expect(stream.offset).toBe(100 + 64 * (8 + 4096) + 1);
  expect(counters.get('transferred')).toBe(stream.offset);
  expect(stream.peer).toBe('the destination');
  pair.shutNear();
  expect((await received).length).toBe(stream.offset);
});

test('what could not be sent is not counted, and the error says where the stream broke', () => {
  using block = RAMBlock.create({ idstr: 'ram', size: 4096 });
  const stream = new OutgoingStream(pair.near, createSourceCounters());
  stream.send(new Uint8Array(7));
  pair.closeFar();
  const gone = expect.objectContaining({
    code: 'PEER_GONE',
    offset: 7,
    message: expect.stringMatching(/^lost the destination while sending.*, at offset 7 of the stream$/),
  });
  expect(() => stream.send(new Uint8Array(10))).toThrow(gone);
  const one = Uint32Array.of(0);
  expect(() => stream.sendPages(new Uint8Array(8), Uint32Array.of(8), block.handle, 4096, one, 1, false)).toThrow(gone);
  expect(stream.offset).toBe(7);
});
