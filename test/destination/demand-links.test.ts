/** Where requests go: over lanes that are up, each with its share, else to the main connection; and what breaks it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Channel } from '#lib/channel/channel.js';
import {
  createDemandChannelWords,
  type DemandChannelWords,
  DemandKind,
  DemandPhase,
} from '#lib/destination/demand-channel.js';
import { DemandLinks, MAIN } from '#lib/destination/demand-links.js';
import { type EventfdHandle, native, type SocketHandle } from '#lib/native.js';
import { Kicked } from '#lib/threads/kicked.js';

const { eventfdClose, eventfdCreate, eventfdSignal, socketClose, socketPair, socketReadable } = native();
/** Pages of one share. */
const SHARE = 512;
const BYTES = Uint8Array.of(1, 2, 3);

let kick: EventfdHandle;
let lanes: DemandChannelWords[];
let pairs: (readonly [SocketHandle, SocketHandle])[];
let main: { channel: Channel | undefined; sent: number; broken: number };
let links: DemandLinks;

beforeEach(() => {
  kick = eventfdCreate();
  pairs = [socketPair(), socketPair()];
  lanes = pairs.map(() => createDemandChannelWords());
  main = { channel: {} as Channel, sent: 0, broken: 0 };
  const link = {
    get channel() {
      return main.channel;
    },
    send: () => {
      main.sent += 1;
      return true;
    },
    break: () => {
      main.broken += 1;
    },
  };
  links = new DemandLinks(
    link,
    lanes.map(({ buffer }) => ({ words: buffer })),
    kick,
  );
});
afterEach(() => {
  for (const socket of pairs.flat()) socketClose(socket);
  eventfdClose(kick);
});

function up(index: number): void {
  lanes[index].set('SOCKET', pairs[index][0]);
  lanes[index].set('KIND', DemandKind.LANE);
  lanes[index].set('GREETED', 1);
  lanes[index].set('PHASE', DemandPhase.READING);
}

const shares = () => [0, SHARE - 1, SHARE, 2 * SHARE].map((page) => links.choose(page));

test('until a lane is up, and while the main connection is down, there is no other way', () => {
  expect(shares()).toEqual([MAIN, MAIN, MAIN, MAIN]);
  up(1);
  expect(shares()).toEqual([1, 1, 1, 1]);
  main.channel = undefined;
  expect(shares()).toEqual([MAIN, MAIN, MAIN, MAIN]);
});

test('lanes that are up share memory by huge pages; one that is read no more has none', () => {
  up(0);
  up(1);
  expect(shares()).toEqual([0, 0, 1, 0]);
  lanes[0].set('PHASE', DemandPhase.STOPPING);
  expect(shares()).toEqual([1, 1, 1, 1]);
});

test('a preempt channel is no lane', () => {
  up(0);
  lanes[0].set('KIND', DemandKind.PREEMPT);
  expect(shares()).toEqual([MAIN, MAIN, MAIN, MAIN]);
});

test('goes over the lane that it is given, the one that is there now', () => {
  up(0);
  expect(links.send(0, BYTES, BYTES.length)).toBe(true);
  lanes[0].set('SOCKET', pairs[1][0]);
  expect(links.send(0, BYTES, BYTES.length)).toBe(true);
  expect(pairs.map(([, peer]) => socketReadable(peer))).toEqual([true, true]);
  expect(links.send(MAIN, BYTES, BYTES.length)).toBe(true);
  expect(main).toMatchObject({ sent: 1, broken: 0 });
});

test('a lane that is lost, or closed just now, has the main connection found lost', () => {
  up(0);
  native().socketShutdown(pairs[0][1]);
  expect(links.send(0, BYTES, BYTES.length)).toBe(false);
  lanes[0].set('SOCKET', 2 ** 30);
  expect(links.send(0, BYTES, BYTES.length)).toBe(false);
  expect(main.broken).toBe(2);
});

test('a kick is no loss', () => {
  up(0);
  eventfdSignal(kick);
  // Only who has to wait finds the kick: fill the socket.
  const large = new Uint8Array(1 << 20);
  expect(() => {
    for (;;) links.send(0, large, large.length);
  }).toThrow(Kicked);
  expect(main.broken).toBe(0);
});
