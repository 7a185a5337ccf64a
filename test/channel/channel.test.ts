/** A channel over a real socket pair: bytes and pages through it, a peer that goes, and kicks. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { Kicked } from '#lib/threads/kicked.js';
import { type ChannelPair, channelPair } from '../../testing/channel-pair.ts';
import { onLibThread } from '../../testing/lib-thread.ts';
import { isPolling, until } from '../../testing/native-thread.ts';

let pair: ChannelPair;

beforeEach(() => {
  pair = channelPair('the peer at unix:/x');
});

afterEach(() => {
  pair.close();
});

test('what is sent is received, into its place', () => {
  pair.near.send(Uint8Array.of(1, 2, 3));
  pair.near.send(Uint8Array.of(4, 5, 6), 2);
  const target = new Uint8Array(8);
  expect(pair.far.receive(target, 1, 7)).toBe(5);
  expect([...target]).toEqual([0, 1, 2, 3, 4, 5, 0, 0]);
  expect(pair.far.peer).toBe('the tester');
});

test('pages go out between their headers', () => {
  using block = RAMBlock.create({ idstr: 'ram', size: 3 * 4096 });
  block.bytes().fill(7, 2 * 4096);
  const { NO_PAGE } = native().constants;
  const arena = Uint8Array.of(10, 11, 12);
  const sent = pair.near.sendPages(
    arena,
    Uint32Array.of(1, 3, 3),
    block.handle,
    4096,
    Uint32Array.of(2, NO_PAGE, 0),
    2,
    false,
  );
  expect(sent).toBe(1 + 4096 + 2);
  const got = new Uint8Array(10_000);
  let length = 0;
  while (length < sent) length += pair.far.receive(got, length, got.length - length);
  expect([...got.subarray(0, length)]).toEqual([10, ...new Array(4096).fill(7), 11, 12]);
});

test('two threads that send at once never mix their bytes', async () => {
  const drained = pair.drainFar();
  const senders = [1, 2].map((value) =>
    onLibThread(
      `test/sender-${value}`,
      { channel: '#lib/channel/channel.js' },
      { socket: pair.nearSocket, kick: pair.kick, value },
      (lib: { channel: typeof import('#lib/channel/channel.js') }, { socket, kick, value: mine }) => {
        const channel = new lib.channel.Channel({ socket, peer: 'x' }, kick);
        const piece = new Uint8Array(50_000).fill(mine);
        for (let i = 0; i < 20; i += 1) channel.send(piece);
      },
    ),
  );
  await Promise.all(senders.map(({ result }) => result));
  pair.shutNear();
  const bytes = await drained;
  expect(bytes.length).toBe(2 * 20 * 50_000);
  const mixed: number[] = [];
  for (let at = 0; at < bytes.length; at += 50_000) {
    if (!bytes.subarray(at, at + 50_000).every((byte) => byte === bytes[at])) mixed.push(at);
  }
  expect(mixed).toEqual([]);
});

describe('a peer that has gone', () => {
  const gone = expect.objectContaining({ code: 'PEER_GONE', message: expect.stringContaining('the peer at unix:/x') });

  test('is 0 bytes to the receiver', () => {
    pair.closeFar();
    expect(pair.near.receive(new Uint8Array(8), 0, 8)).toBe(0);
  });

  test('is PEER_GONE to the sender, by bytes and by pages', () => {
    using block = RAMBlock.create({ idstr: 'ram', size: 4096 });
    pair.closeFar();
    expect(() => pair.near.send(new Uint8Array(8))).toThrow(gone);
    expect(() =>
      pair.near.sendPages(new Uint8Array(8), Uint32Array.of(8), block.handle, 4096, Uint32Array.of(0), 1, false),
    ).toThrow(gone);
  });

  test('with bytes unread is PEER_GONE to the receiver', () => {
    pair.near.send(new Uint8Array(8));
    pair.closeFar();
    expect(() => pair.near.receive(new Uint8Array(8), 0, 8)).toThrow(gone);
  });
});

test('a mistake of the caller is not taken for a peer that has gone', () => {
  expect(() => pair.near.receive(new Uint8Array(8), 4, 8)).toThrow(RangeError);
});

describe('a kick', () => {
  test('before the call ends it at once, and again, until it is drained', () => {
    native().eventfdSignal(pair.kick);
    expect(() => pair.near.receive(new Uint8Array(8), 0, 8)).toThrow(Kicked);
    expect(() => pair.near.receive(new Uint8Array(8), 0, 8)).toThrow(Kicked);
    native().eventfdDrain(pair.kick);
    pair.far.send(Uint8Array.of(1));
    expect(pair.near.receive(new Uint8Array(8), 0, 8)).toBe(1);
  });

  test.each([
    ['receive', 0],
    ['send', 8 * 2 ** 20], // more than a socket holds
  ])('frees a thread that is blocked to %s', async (name, bytes) => {
    const thread = onLibThread(
      `test/${name}`,
      { channel: '#lib/channel/channel.js' },
      { socket: pair.nearSocket, kick: pair.kick, bytes },
      (lib: { channel: typeof import('#lib/channel/channel.js') }, data) => {
        const channel = new lib.channel.Channel({ socket: data.socket, peer: 'x' }, data.kick);
        try {
          if (data.bytes === 0) channel.receive(new Uint8Array(8), 0, 8);
          else channel.send(new Uint8Array(data.bytes));
          return 'returned';
        } catch (error) {
          return (error as Error).name;
        }
      },
    );
    await until('the thread is blocked', () => isPolling(`test/${name}`));
    native().eventfdSignal(pair.kick);
    expect(await thread.result).toBe('Kicked');
  });
});

test('a limited queue holds the sender back earlier', async () => {
  // How much can be sent before the sender would block, by a thread that is then kicked.
  const fill = async (limit: number | undefined): Promise<number> => {
    const own = channelPair();
    if (limit !== undefined) own.near.limitQueue(limit);
    const sent = new SharedArrayBuffer(4);
    const thread = onLibThread(
      'test/fill',
      { channel: '#lib/channel/channel.js' },
      { socket: own.nearSocket, kick: own.kick, sent },
      (lib: { channel: typeof import('#lib/channel/channel.js') }, data) => {
        const channel = new lib.channel.Channel({ socket: data.socket, peer: 'x' }, data.kick);
        const count = new Int32Array(data.sent);
        try {
          for (;;) {
            channel.send(new Uint8Array(1024));
            Atomics.add(count, 0, 1024);
          }
        } catch (error) {
          return (error as Error).name;
        }
      },
    );
    await until('the sender is blocked', () => isPolling('test/fill'));
    native().eventfdSignal(own.kick);
    expect(await thread.result).toBe('Kicked');
    own.close();
    return new Int32Array(sent)[0];
  };
  expect(await fill(16 * 1024)).toBeLessThan((await fill(undefined)) / 2);
});
