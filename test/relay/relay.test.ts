/**
 * A relay between two ends of bytes over real sockets: nothing lost, added or reordered; ends, half-closes,
 * resets and faults handed on as they are.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRelay, type Fault, type Relay, type RelayOptions } from '#lib/index.js';
import { native } from '#lib/native.js';
import { text } from '../../testing/feed.ts';
import { cutInto, Destination, type Peer, pattern, source } from '../../testing/relay-peers.ts';

let folder: string;
let closers: (() => unknown)[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
  closers = [];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
  rmSync(folder, { recursive: true });
});

type Transport = 'unix' | 'tcp';

interface Line {
  readonly relay: Relay;
  readonly destination: Destination;
  /** One more connection, both its ends. */
  connect(): Promise<[Peer, Peer]>;
}

let lines = 0;

async function line(from: Transport, to: Transport, options: RelayOptions = {}): Promise<Line> {
  const id = lines++;
  const destination = await Destination.at(to === 'unix' ? `unix:${folder}/${id}.out` : 'tcp:127.0.0.1:0');
  closers.push(() => destination.close());
  const out = to === 'unix' ? `unix:${folder}/${id}.out` : destination.tcpUri;
  const relay = await createRelay(from === 'unix' ? `unix:${folder}/${id}.in` : 'tcp:127.0.0.1:0', out, options);
  closers.push(() => relay.close());
  return {
    relay,
    destination,
    connect: async () => {
      const near = await source(relay.uri);
      const far = await destination.peer();
      closers.push(() => near.socket.destroy() && far.socket.destroy());
      return [near, far];
    },
  };
}

/** Resolved when every connection that has come is gone. */
const idle = (relay: Relay): Promise<unknown> => once(relay, 'idle');

const transports: [Transport, Transport][] = [
  ['unix', 'unix'],
  ['tcp', 'tcp'],
  ['unix', 'tcp'],
  ['tcp', 'unix'],
];

describe.each(transports)('%s to %s', (from, to) => {
  test('both ways at once, and the ends in good order', async () => {
    const { relay, connect } = await line(from, to);
    const [near, far] = await connect();
    const gone = idle(relay);
    const [there, back] = [pattern(3_000_000, 1), pattern(1_000_000, 2)];
    await Promise.all([
      near.send(cutInto(there, [100_000]), true),
      far.send(cutInto(back, [7, 30_000]), true),
      near.ended,
      far.ended,
    ]);
    await gone;
    expect(text(far.received) === text(there)).toBe(true);
    expect(text(near.received) === text(back)).toBe(true);
    expect(relay.stats).toMatchObject({
      s2d: there.length,
      d2s: back.length,
      connections: [{ connection: 0, state: 'closed', s2d: there.length, d2s: back.length }],
    });
  });

  test('a half-close: one side has ended, the other still talks', async () => {
    const { relay, connect } = await line(from, to);
    const [near, far] = await connect();
    await near.send([pattern(10, 1)], true);
    expect(await far.ended).toBe('end');
    await far.send([pattern(20, 2)]);
    await near.has(20);
    expect(relay.stats.connections[0].state).toBe('open');
    const gone = idle(relay);
    await far.send([pattern(5, 3)], true);
    expect(await near.ended).toBe('end');
    await gone;
    expect(near.received).toHaveLength(25);
  });

  test('several connections, joined in the order they come', async () => {
    const { relay, destination } = await line(from, to);
    const nears = await Promise.all([0, 1, 2, 3].map(() => source(relay.uri)));
    for (const [i, near] of nears.entries()) await near.send([Uint8Array.of(i)]);
    for (const i of nears.keys()) {
      const far = await destination.peer();
      await far.has(1);
      expect(far.received).toEqual(Uint8Array.of(i));
      closers.push(() => far.socket.destroy());
    }
    for (const near of nears) near.socket.destroy();
  });

  test('a receiver that reads nothing holds the sender back', async () => {
    const { relay, connect } = await line(from, to);
    const [near, far] = await connect();
    far.socket.pause();
    const piece = new Uint8Array(1 << 20);
    const all = 96;
    for (let i = 0; i < all; i++) near.socket.write(piece);
    // By then the relay has taken what it takes: it reads in the same thread.
    const back = pattern(1000, 1);
    await far.send([back]);
    await near.has(back.length);
    expect(relay.stats.s2d).toBeLessThan(24 << 20);
    far.socket.resume();
    await far.has(all << 20);
    expect(relay.stats.s2d).toBe(all << 20);
  });
});

describe('resets', () => {
  test.each(transports)('%s to %s: of the source, after its bytes', async (from, to) => {
    const { relay, connect } = await line(from, to);
    const [near, far] = await connect();
    await near.send([pattern(1000, 1)]);
    await far.has(1000);
    const gone = idle(relay);
    if (from === 'tcp') near.socket.resetAndDestroy();
    else {
      // Closed with what it has not read, a unix socket resets.
      near.socket.pause();
      await far.send([pattern(500_000, 2)]);
      near.socket.destroy();
      void far.send([pattern(500_000, 2)]);
    }
    const found = await far.ended;
    await gone;
    expect(to === 'tcp' ? ['ECONNRESET', 'EPIPE'] : ['end', 'close', 'ECONNRESET', 'EPIPE']).toContain(found);
    expect(relay.stats.connections[0].state).toBe('reset');
    expect(far.received).toEqual(pattern(1000, 1));
  });

  test('the receiver closes while the sender sends: the sender is told', async () => {
    const { relay, connect } = await line('tcp', 'tcp');
    const [near, far] = await connect();
    const gone = idle(relay);
    far.socket.destroy();
    const pump = () => {
      while (!near.socket.destroyed && near.socket.write(new Uint8Array(65_536)));
    };
    near.socket.on('drain', pump);
    pump();
    expect(['ECONNRESET', 'EPIPE', 'end']).toContain(await near.ended);
    await gone;
  });
});

describe('faults', () => {
  const chunks = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 4 });

  test('whatever the pieces, rates and faults: a prefix arrives, its length counted (property)', async () => {
    const faults = fc.array(
      fc.oneof(
        fc.record({ kind: fc.constant('cut' as const), after: fc.nat(250_000), how: fc.constantFrom('fin', 'rst') }),
        fc.record({
          kind: fc.constant('corrupt' as const),
          after: fc.nat(250_000),
          xor: fc.integer({ min: 1, max: 255 }),
        }),
      ),
      { maxLength: 3 },
    );
    const pacing = fc.record({
      rate: fc.constantFrom(0, 5e6, 50e6),
      delayMs: fc.constantFrom(0, 0, 2),
      jitterMs: fc.constantFrom(0, 0, 3),
      bufferBytes: fc.constantFrom(5000, 1e6),
    });
    const routes = fc.constantFrom(...transports);
    await fc.assert(
      fc.asyncProperty(routes, pacing, faults, chunks, fc.nat(200_000), async (route, pace, given, sizes, length) => {
        const { relay, connect } = await line(...route, { ...pace, faults: given as Fault[] });
        const gone = idle(relay);
        const [near, far] = await connect();
        const bytes = pattern(length, 9);
        void near.send(cutInto(bytes, sizes), true);
        void far.ended.then(() => far.socket.end());
        await far.ended;
        await gone;

        const cuts = given.filter((fault) => fault.kind === 'cut').sort((a, b) => a.after - b.after);
        const cut = cuts.find(({ after }) => after < length);
        const end = cut?.after ?? length;
        const expected = bytes.slice(0, end);
        for (const fault of given) {
          if (fault.kind === 'corrupt' && fault.after < end) expected[fault.after] ^= fault.xor;
        }
        const { received } = far;
        if (cut === undefined || cut.how === 'fin') expect(received.length).toBe(end);
        expect(text(received) === text(expected.subarray(0, received.length))).toBe(true);
        expect(relay.stats.s2d).toBe(end);
        if (cut !== undefined) expect(relay.stats.connections[0].state).toBe('cut');
      }),
      { numRuns: 60 },
    );
  });

  test.each(transports)('%s to %s: a cut ends both sides', async (from, to) => {
    const faults: Fault[] = [{ kind: 'cut', after: 100 }];
    const { relay, connect } = await line(from, to, { faults });
    const [near, far] = await connect();
    const gone = idle(relay);
    const happened = once(relay, 'fault');
    await near.send([pattern(200, 1)]);
    const [stats, fault] = await happened;
    expect(fault).toEqual(faults[0]);
    expect(stats).toMatchObject({ connection: 0, s2d: 100 });
    expect(await far.ended).toBe('end');
    far.socket.end();
    expect(['end', 'ECONNRESET']).toContain(await near.ended);
    near.socket.end();
    await gone;
    expect(far.received).toEqual(pattern(100, 1));
    expect(relay.stats.faultsLeft).toEqual([]);
  });

  test('a cut by reset over tcp: both sides find one', async () => {
    const { relay, connect } = await line('tcp', 'tcp');
    const [near, far] = await connect();
    await near.send([pattern(50, 1)]);
    await far.has(50);
    relay.cut('rst');
    expect(await near.ended).toBe('ECONNRESET');
    expect(await far.ended).toBe('ECONNRESET');
  });

  test('a cut on the way back counts those bytes', async () => {
    const faults: Fault[] = [{ kind: 'cut', after: 8, direction: 'd2s' }];
    const { connect } = await line('tcp', 'unix', { faults });
    const [near, far] = await connect();
    await near.send([pattern(50_000, 1)]);
    await far.send([pattern(16, 2)]);
    expect(await near.ended).toBe('end');
    expect(near.received).toEqual(pattern(16, 2).subarray(0, 8));
  });

  test('a fault of the second connection leaves the first alone', async () => {
    const { relay, connect } = await line('unix', 'unix', { faults: [{ kind: 'cut', after: 1, connection: 1 }] });
    const [near, far] = await connect();
    const [second, secondFar] = await connect();
    await near.send([pattern(100, 1)]);
    await far.has(100);
    await second.send([pattern(100, 1)]);
    expect(await secondFar.ended).toBe('end');
    await near.send([pattern(100, 1)]);
    await far.has(200);
    expect(relay.stats.connections.map(({ state }) => state)).toEqual(['open', 'cut']);
  });

  test('after a cut a new connection is joined: a recovery', async () => {
    const { connect, relay } = await line('unix', 'unix', { faults: [{ kind: 'cut', after: 10 }] });
    const [near, far] = await connect();
    await near.send([pattern(100, 1)]);
    await far.ended;
    far.socket.end();
    const [again, farAgain] = await connect();
    await again.send([pattern(5000, 2)]);
    await farAgain.has(5000);
    expect(relay.stats.connections[1]).toMatchObject({ state: 'open', s2d: 5000 });
  });

  test('a stall is silent, and what was held back comes with the resume', async () => {
    const { relay, connect } = await line('tcp', 'tcp', { faults: [{ kind: 'stall', after: 10 }] });
    const [near, far] = await connect();
    const stalled = once(relay, 'fault');
    await near.send([pattern(100, 1)], true);
    await stalled;
    await far.has(10);
    await far.send([pattern(30, 2)]);
    expect(relay.stats.connections[0]).toEqual({ connection: 0, state: 'stalled', s2d: 10, d2s: 0 });
    relay.resume();
    expect(await far.ended).toBe('end');
    await near.has(30);
    expect(far.received).toEqual(pattern(100, 1));
  });

  test('injected while it runs: of a connection that is there, and of one that is to come', async () => {
    const { relay, connect } = await line('unix', 'unix');
    const [near, far] = await connect();
    await near.send([pattern(200, 1)]);
    await far.has(200);
    relay.inject({ kind: 'cut', after: 100 });
    relay.inject({ kind: 'cut', after: 50, connection: 1, direction: 'd2s' });
    await near.send([pattern(10, 2)]);
    expect(await far.ended).toBe('end');
    expect(far.received).toEqual(pattern(200, 1));
    const [nearNext, farNext] = await connect();
    await farNext.send([pattern(80, 3)]);
    expect(await nearNext.ended).toBe('end');
    expect(nearNext.received).toEqual(pattern(80, 3).subarray(0, 50));
    expect(() => relay.inject({ kind: 'cut', after: -1 })).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
    expect(relay.stats.faultsLeft).toEqual([]);
  });

  test('what is asked for and not reached is told', async () => {
    const fault: Fault = { kind: 'corrupt', after: 1000 };
    const { relay, connect } = await line('unix', 'unix', { faults: [fault] });
    const [near, far] = await connect();
    await near.send([pattern(100, 1)], true);
    await far.ended;
    expect(relay.stats.faultsLeft).toEqual([fault]);
  });
});

describe('who is not there', () => {
  test('nobody at the destination: the connection waits until somebody comes', async () => {
    const out = `unix:${folder}/late.out`;
    const relay = await createRelay(`unix:${folder}/late.in`, out);
    closers.push(() => relay.close());
    const waiting = once(relay, 'waiting');
    const near = await source(relay.uri);
    await near.send([pattern(77, 1)]);
    const [stats] = await waiting;
    expect(stats).toMatchObject({ connection: 0, state: 'dialling' });
    const destination = await Destination.at(out);
    closers.push(() => destination.close());
    const far = await destination.peer();
    await far.has(77);
    expect(far.received).toEqual(pattern(77, 1));
    near.socket.destroy();
    far.socket.destroy();
  });

  test('nobody in time: that connection fails, with what to do', async () => {
    const relay = await createRelay('tcp:127.0.0.1:0', `unix:${folder}/never`, { connectTimeoutMs: 0 });
    closers.push(() => relay.close());
    const failed = once(relay, 'failed');
    const near = await source(relay.uri);
    const [stats, error] = await failed;
    expect(stats).toMatchObject({ connection: 0, state: 'failed' });
    expect(error).toMatchObject({ code: 'CONNECT_REFUSED', message: expect.stringContaining(`unix:${folder}/never`) });
    expect(await near.ended).toBe('ECONNRESET');
  });

  test('to itself: it would pass on what it has passed on', async () => {
    const relay = createRelay('tcp::4444', 'tcp:0.0.0.0:4444');
    await expect(relay).rejects.toMatchObject({ code: 'BAD_ARGUMENT', message: expect.stringContaining('to itself') });
  });

  test('an address in use', async () => {
    const destination = await Destination.at(`unix:${folder}/taken`);
    closers.push(() => destination.close());
    await expect(createRelay(`unix:${folder}/taken`, 'tcp:127.0.0.1:1')).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
    });
    writeFileSync(`${folder}/file`, '');
    await expect(createRelay(`unix:${folder}/file`, 'tcp:127.0.0.1:1')).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
    });
  });

  test('a socket that a killed process left behind is replaced', async () => {
    const path = `${folder}/stale`;
    native().socketClose(native().socketListen({ family: 'unix', path }, 1).handle);
    const relay = await createRelay(`unix:${path}`, 'tcp:127.0.0.1:1');
    await relay.close();
  });

  test.each([
    ['from', 'udp:1', 'tcp:127.0.0.1:1', {}, 'BAD_URI'],
    ['to', 'tcp:127.0.0.1:0', 'nowhere', {}, 'BAD_URI'],
    ['rate', 'tcp:127.0.0.1:0', 'tcp:127.0.0.1:1', { rate: -1 }, 'BAD_ARGUMENT'],
    ['delay', 'tcp:127.0.0.1:0', 'tcp:127.0.0.1:1', { delayMs: Number.NaN }, 'BAD_ARGUMENT'],
    ['folder', 'unix:/nowhere/at/all', 'tcp:127.0.0.1:1', {}, 'LISTEN_FAILED'],
  ])('a wrong %s is refused at once', async (_name, from, to, options, code) => {
    await expect(createRelay(from, to, options)).rejects.toMatchObject({ code });
  });
});

test('an observer that fails is let go of, and nobody notices but who asks', async () => {
  const { relay, connect } = await line('unix', 'unix');
  const nothing = () => {};
  relay.observe({
    opened: nothing,
    passed: () => {
      throw new Error('no room');
    },
    ended: nothing,
    cut: nothing,
    close: nothing,
  });
  const warned = once(relay, 'warning');
  const [near, far] = await connect();
  await near.send([pattern(100_000, 1)], true);
  expect((await warned)[0]).toMatchObject({ message: 'no room' });
  await far.ended;
  expect(far.received).toHaveLength(100_000);
});

test('closing ends what is open, and leaves nothing', async () => {
  const { relay, connect } = await line('unix', 'unix');
  const [near, far] = await connect();
  await relay.close();
  await relay.close();
  await Promise.all([near.ended, far.ended]);
  await expect(source(relay.uri)).rejects.toMatchObject({ code: 'ENOENT' });
});
