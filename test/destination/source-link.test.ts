/** The connection as every thread finds it: none, one, another; lost under who sends, and ended for who blocks. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDestinationSignals, type DestinationSignals } from '#lib/destination/destination-signals.js';
import { SourceLink } from '#lib/destination/source-link.js';
import { native } from '#lib/native.js';
import { Kicked } from '#lib/threads/kicked.js';
import { type ChannelPair, channelPair } from '../../testing/channel-pair.ts';
import { onLibThread } from '../../testing/lib-thread.ts';
import { isPolling, until } from '../../testing/native-thread.ts';

let signals: DestinationSignals;
let pair: ChannelPair;
let link: SourceLink;

beforeEach(() => {
  signals = createDestinationSignals();
  pair = channelPair();
  link = new SourceLink(signals, 'the source', pair.kick);
});
afterEach(() => pair.close());

const bytes = Uint8Array.of(1, 2, 3);

/** What the far end finds: bytes, or undefined at the end. */
function found(from: ChannelPair): number[] | undefined {
  const target = new Uint8Array(8);
  const count = from.far.receive(target, 0, target.length);
  return count === 0 ? undefined : [...target.subarray(0, count)];
}

test('at first it is down, and nothing goes out', () => {
  expect(link.channel).toBeUndefined();
  expect(link.send(bytes)).toBe(false);
});

test('up, all who have it send over the same connection, whole or a part of their bytes', () => {
  link.up(pair.nearSocket);
  expect(link.send(bytes)).toBe(true);
  expect(found(pair)).toEqual([1, 2, 3]);
  expect(new SourceLink(createDestinationSignals(signals.buffer), 'the source', pair.kick).send(bytes, 2)).toBe(true);
  expect(found(pair)).toEqual([1, 2]);
  expect(link.channel).toBe(link.channel);
});

test('down, the other end is told, and the next connection takes its place', () => {
  link.up(pair.nearSocket);
  link.send(bytes);
  link.down();
  expect([found(pair), found(pair)]).toEqual([[1, 2, 3], undefined]);
  expect(link.send(bytes)).toBe(false);
  const next = channelPair();
  link.up(next.nearSocket);
  expect(link.send(bytes)).toBe(true);
  expect(found(next)).toEqual([1, 2, 3]);
  next.close();
});

test('lost under who sends, its reader finds the end of it', () => {
  link.up(pair.nearSocket);
  pair.closeFar();
  expect(link.send(bytes)).toBe(false);
  expect(native().socketReadable(pair.nearSocket)).toBe(true);
  expect(link.channel).toBeDefined(); // whoever reads it takes it down
});

test('closed by the owner under who sends: the same', () => {
  const [near, far] = native().socketPair();
  link.up(near);
  expect(link.send(bytes)).toBe(true);
  native().socketClose(near);
  expect(link.send(bytes)).toBe(false);
  link.down();
  native().socketClose(far);
});

test('a kick ends the sending, and is no loss', () => {
  link.up(pair.nearSocket);
  native().eventfdSignal(pair.kick);
  expect(() => link.send(bytes)).toThrow(Kicked);
  native().eventfdDrain(pair.kick);
  expect(link.send(bytes)).toBe(true);
});

test('who blocks in sending, as the source does not read, goes on when it is taken down', async () => {
  link.up(pair.nearSocket);
  const sender = onLibThread(
    'test/sender',
    { signals: '#lib/destination/destination-signals.js', link: '#lib/destination/source-link.js' },
    { buffer: signals.buffer, kick: pair.kick },
    (
      lib: {
        signals: typeof import('#lib/destination/destination-signals.js');
        link: typeof import('#lib/destination/source-link.js');
      },
      data,
    ) => {
      const mine = new lib.link.SourceLink(lib.signals.createDestinationSignals(data.buffer), 'it', data.kick);
      return mine.send(new Uint8Array(16 * 2 ** 20));
    },
  );
  await until('it blocks', () => isPolling('test/sender'));
  link.down();
  expect(await sender.result).toBe(false);
});
