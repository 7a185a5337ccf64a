/** Connections behind the first: which are refused and how, which are turned away, and that none is left open. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bind, connect, type Listener } from '#lib/channel/connect.js';
import { ExtraConnections } from '#lib/destination/extra-connections.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { Kicked } from '#lib/threads/kicked.js';
import { encodeLaneGreeting } from '#lib/wire/encode.js';
import { until } from '../../testing/native-thread.ts';

const {
  eventfdClose,
  eventfdCreate,
  eventfdSignal,
  openHandles,
  socketClose,
  socketReadable,
  socketReceive,
  socketSend,
} = native();
const MULTIFD = Uint8Array.of(0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1);
const STREAM = Uint8Array.of(0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3);
const LANE = encodeLaneGreeting();
const OFFSET = 4711;

const folder = mkdtempSync(join(tmpdir(), 'postcopy-extra-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(['unix', 'tcp'] as const)('%s', (family) => {
  let listener: Listener;
  let kick: EventfdHandle;
  let extra: ExtraConnections;
  let peers: SocketHandle[];
  let before: number;

  beforeEach(async () => {
    before = openHandles().sockets;
    kick = eventfdCreate();
    listener = await bind(family === 'unix' ? `unix:${join(folder, 'socket')}` : 'tcp:127.0.0.1:0');
    extra = new ExtraConnections(listener.socket, kick);
    peers = [];
  });

  afterEach(() => {
    extra.close();
    for (const peer of peers) socketClose(peer);
    listener.close();
    eventfdClose(kick);
    expect(openHandles().sockets).toBe(before);
  });

  /** A connection that can be accepted, and has said `bytes`. */
  async function come(...said: Uint8Array[]): Promise<SocketHandle> {
    const peer = await connect(listener.uri);
    peers.push(peer);
    await until('it can be accepted', () => socketReadable(listener.socket));
    for (const bytes of said) socketSend(peer, kick, bytes, 0, bytes.length);
    return peer;
  }

  /** Looks until the peer finds its connection closed. */
  async function turnedAway(peer: SocketHandle): Promise<void> {
    await until('it is turned away', () => {
      extra.look(false, OFFSET);
      return socketReadable(peer);
    });
    const end = () => socketReceive(peer, kick, new Uint8Array(1), 0, 1);
    try {
      expect(end()).toBe(0);
    } catch (error) {
      // It was closed with bytes unread.
      expect((error as { code: string }).code).toBe('ECONNRESET');
    }
  }

  const refused = (capability: string) =>
    expect.objectContaining({
      code: 'UNSUPPORTED',
      offset: OFFSET,
      message: expect.stringContaining(`capability ${capability} on, as a further connection`),
    });

  test('nobody has come: nothing happens', () => {
    extra.look(true, OFFSET);
  });

  test('multifd is refused by name, as soon as its magic is whole', async () => {
    const peer = await come(MULTIFD.subarray(0, 3));
    extra.look(false, OFFSET);
    socketSend(peer, kick, MULTIFD, 3, 5);
    await expect(
      until('it is heard', () => {
        extra.look(false, OFFSET);
        return false;
      }),
    ).rejects.toEqual(refused('multifd'));
  });

  test('one that is silent is postcopy-preempt once postcopy was advised, and waits before', async () => {
    const peer = await come();
    extra.look(false, OFFSET);
    extra.look(false, OFFSET);
    expect(socketReadable(peer)).toBe(false);
    expect(() => extra.look(true, OFFSET)).toThrow(refused('postcopy-preempt'));
  });

  test('with the capability, the silent one is the preempt channel, and whose it is then', async () => {
    const takes = new ExtraConnections(listener.socket, kick, true);
    expect(takes.take()).toBeUndefined();
    const [peer, stranger] = [await come(), await come(STREAM.subarray(0, 2))];
    takes.look(true, OFFSET);
    const found = takes.take();
    expect(found).toMatchObject({ hasGreeted: false });
    expect(takes.take()).toBeUndefined(); // the other one has spoken
    takes.close();
    expect([socketReadable(peer), socketReadable(stranger)]).toEqual([false, true]);
    if (found !== undefined) socketClose(found.socket);
    expect(socketReadable(peer)).toBe(true);
  });

  test('of lanes, those that have greeted come first, then who says nothing yet; nobody else', async () => {
    const takes = new ExtraConnections(listener.socket, kick);
    takes.expectLanes();
    const [silent, lane, stranger] = [await come(), await come(LANE), await come(LANE.subarray(0, 3))];
    await until('all are looked at', () => {
      takes.look(true, OFFSET);
      return !socketReadable(listener.socket);
    });
    const found = [takes.take(), takes.take()];
    expect(found.map((each) => each?.hasGreeted)).toEqual([true, false]);
    expect(takes.take()).toBeUndefined(); // it has said a part
    for (const each of found) if (each !== undefined) socketClose(each.socket);
    await until('they are closed', () => socketReadable(silent) && socketReadable(lane));
    expect(socketReadable(stranger)).toBe(false);
    takes.close();
  });

  test('a lane that was not agreed on is turned away', async () => {
    await turnedAway(await come(LANE));
  });

  test.each([
    ['garbage', Uint8Array.from(Buffer.from('GET / HTTP/1.1\r\n\r\n'))],
    ['another source', STREAM],
  ])('%s is turned away', async (_, bytes) => {
    await turnedAway(await come(bytes));
    extra.look(true, OFFSET);
  });

  test('one that leaves without a word is forgotten', async () => {
    const peer = await come();
    extra.look(false, OFFSET);
    peers.splice(peers.indexOf(peer), 1);
    socketClose(peer);
    await until('it is closed here too', () => {
      extra.look(false, OFFSET);
      return openHandles().sockets === before + 1;
    });
    extra.look(true, OFFSET);
  });

  test('many at once: those that may speak are held, garbage among them is turned away', async () => {
    const silent = await Promise.all(Array.from({ length: 20 }, () => connect(listener.uri)));
    peers.push(...silent);
    extra.look(false, OFFSET);
    const held = openHandles().sockets - before - 1 - peers.length;
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual(16);
    for (const peer of silent) socketSend(peer, kick, STREAM, 0, STREAM.length);
    for (const peer of silent) await turnedAway(peer);
  });

  test('a kick ends the look', async () => {
    await come();
    eventfdSignal(kick);
    expect(() => extra.look(false, OFFSET)).toThrow(Kicked);
  });
});
