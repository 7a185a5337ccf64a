/** The network of the chaos tests: what it draws, and that each connection breaks where and how it was drawn. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { seededRandom } from '#lib/relay/pacing.js';
import {
  BadNetwork,
  type BadNetworkOptions,
  type BreakKind,
  drawBreak,
  drawWeather,
} from '../../testing/bad-network.ts';
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

async function open(options: BadNetworkOptions) {
  const destination = await Destination.at('tcp:127.0.0.1:0');
  closers.push(() => destination.close());
  const network = await BadNetwork.open('tcp:127.0.0.1:0', destination.tcpUri, options);
  closers.push(() => network.close());
  const connect = async (): Promise<[near: Peer, far: Peer]> => {
    const near = await source(network.uri);
    const far = await destination.peer();
    closers.push(() => near.socket.destroy() && far.socket.destroy());
    return [near, far];
  };
  return { network, connect };
}

const bytes = pattern(200_000, 7);
const pieces = cutInto(bytes, [7000, 640]);

test('what is drawn is in range, and the same for the same seed (property)', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 32 - 1), (seed) => {
      const weather = drawWeather(seededRandom(seed));
      expect(weather).toEqual(drawWeather(seededRandom(seed)));
      expect(weather.rate === 0 || weather.rate >= 125_000).toBe(true);
      expect(weather.delayMs + weather.jitterMs).toBeLessThanOrEqual(50);
      const broken = drawBreak(seededRandom(seed));
      expect(broken).toEqual(drawBreak(seededRandom(seed)));
      expect(broken.after).toBeLessThan(broken.direction === 's2d' ? 2 ** 20 : 2 ** 11);
      expect(broken.after).toBeGreaterThanOrEqual(0);
    }),
  );
});

test('short ways and long, both directions and all kinds are drawn', () => {
  const drawn = Array.from({ length: 1000 }, (_, seed) => drawBreak(seededRandom(seed)));
  const count = (holds: (each: (typeof drawn)[number]) => boolean) => drawn.filter(holds).length;
  for (const kind of ['close', 'reset', 'half-open']) expect(count((each) => each.kind === kind)).toBeGreaterThan(250);
  expect(count(({ direction }) => direction === 'd2s')).toBeGreaterThan(250);
  expect(count(({ direction, after }) => direction === 's2d' && after < 256)).toBeGreaterThan(150);
  expect(count(({ direction, after }) => direction === 's2d' && after > 64 * 1024)).toBeGreaterThan(80);
});

test('before it begins nothing breaks', async () => {
  const { network, connect } = await open({ seed: 1, cuts: 100 });
  const [near, far] = await connect();
  await near.send(pieces, true);
  await far.ended;
  expect(far.received).toEqual(bytes);
  expect(network.breaks).toEqual([]);
});

test('each connection breaks where it was drawn, until enough have; then all go through', async () => {
  const spans = { s2d: 100_000, d2s: 100_000 };
  const { network, connect } = await open({ seed: 5, cuts: 6, kinds: ['close'], spans });
  network.begin();
  network.begin();
  for (let broken = 1; broken <= 6; broken++) {
    const [near, far] = await connect();
    await Promise.all([near.send(pieces), far.send(pieces), near.ended, far.ended]);
    expect(network.breaks).toHaveLength(broken);
    const { connection, direction, after } = network.breaks[broken - 1];
    expect(connection).toBe(broken - 1);
    const receiver = direction === 's2d' ? far : near;
    expect(receiver.received).toEqual(bytes.subarray(0, after));
  }
  expect(new Set(network.breaks.map(({ direction }) => direction)).size).toBe(2);
  const [near, far] = await connect();
  await Promise.all([near.send(pieces, true), far.ended]);
  expect(far.received).toEqual(bytes);
  expect(network.breaks).toHaveLength(6);
  expect(network.connections).toBe(7);
});

test.each<[BreakKind, string]>([
  ['close', 'end'],
  ['reset', 'ECONNRESET'],
])('%s: the side that sends finds %s', async (kind, expected) => {
  const spans = { s2d: 1, d2s: 1 };
  const { network, connect } = await open({ seed: 3, cuts: 1, kinds: [kind], spans });
  const [near, far] = await connect();
  await near.send([bytes.subarray(0, 10)]);
  await far.has(10);
  network.begin();
  // The one byte that decides it, in each direction.
  await Promise.all([near.send([bytes.subarray(0, 1)]), far.send([bytes.subarray(0, 1)])]);
  expect(await near.ended).toBe(expected);
  expect(network.breaks).toMatchObject([{ kind, connection: 0 }]);
});

test('half-open: nothing comes, and nobody is told', async () => {
  const { network, connect } = await open({ seed: 3, cuts: 1, kinds: ['half-open'], spans: { s2d: 1000, d2s: 1000 } });
  network.begin();
  const [near, far] = await connect();
  const ended: string[] = [];
  for (const peer of [near, far]) void peer.ended.then((how) => ended.push(how));
  near.socket.write(bytes);
  far.socket.write(bytes);
  const [again, across] = await connect();
  await Promise.all([again.send(pieces, true), across.ended]);
  // A connection that came later has gone through; the first one stands.
  expect(across.received).toEqual(bytes);
  expect(network.breaks).toMatchObject([{ kind: 'half-open', connection: 0 }]);
  expect(ended).toEqual([]);
});
