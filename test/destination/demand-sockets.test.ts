/** The sockets of demand channels: counted by connection, broken, and each closed once. */
import { expect, test } from 'vitest';
import { DemandSockets } from '#lib/destination/demand-sockets.js';
import { native } from '#lib/native.js';

const { openHandles, socketClose, socketPair, socketReadable } = native();

test('closes what another one follows, what belongs to earlier connections, and at last the rest', () => {
  const before = openHandles().sockets;
  const sockets = new DemandSockets();
  const peers = [0, 1, 2, 3].map((index) => {
    const [mine, peer] = socketPair();
    sockets.add(index % 3, mine, index === 3 ? 1 : 0); // the fourth is of the first thread, after a recovery
    return peer;
  });
  expect([sockets.count(0), sockets.count(1)]).toEqual([2, 1]);
  expect(peers.map(socketReadable)).toEqual([true, false, false, false]);
  sockets.break();
  expect(peers.map(socketReadable)).toEqual([true, true, true, true]);
  sockets.closeUpTo(0);
  expect([sockets.count(0), sockets.count(1)]).toEqual([0, 1]);
  sockets.close();
  sockets.close();
  for (const peer of peers) socketClose(peer);
  expect(openHandles().sockets).toBe(before);
});
