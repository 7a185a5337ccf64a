/** Both sides ours, with lanes: a running guest moves over them, after pauses over others; and where there are none. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bind, connect } from '#lib/channel/connect.js';
import { IncomingMigration } from '#lib/destination/incoming.js';
import { listen, migrate, type OutgoingMigration, StressGuest } from '#lib/index.js';
import { type NativeError, native } from '#lib/native.js';
import { resolveCapabilities, resolveParameters } from '#lib/options.js';
import { OutgoingMigration as Outgoing } from '#lib/source/outgoing.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads, until } from '../../testing/native-thread.ts';

const memory = 32 * 2 ** 20;
/** So seldom at a missing page, and with so little in the background, that it is not whole before the last pause. */
const writesPerSecond = 1000;
const SLOW = 2 * 2 ** 20;

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(async () => {
  await until('its threads are gone', () => countThreads('mig/') === 0);
  expect(leaks()).toEqual({});
});

interface Sides {
  /** Lanes that are asked for, and that are taken. */
  readonly asked: number;
  readonly taken: number;
  readonly preempt?: boolean;
  readonly kind?: 'anonymous' | 'memfd';
}

const areActive = (...sides: readonly { readonly status: string }[]) =>
  sides.every(({ status }) => status === 'postcopy-active');

async function move(
  { asked, taken, preempt = false, kind = 'anonymous' }: Sides,
  meanwhile: (outgoing: OutgoingMigration, incoming: IncomingMigration) => Promise<void>,
): Promise<void> {
  const capabilities = { postcopyRam: true, postcopyPreempt: preempt };
  using source = await StressGuest.create({ memory, kind, vcpus: 2, writesPerSecond });
  using target = StressGuest.empty({ memory, kind, vcpus: 2 });
  await source.start();
  const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities, lanes: taken, prefetch: 'around' });
  const outgoing = await migrate(source, incoming.uri, {
    capabilities,
    parameters: { maxPostcopyBandwidth: SLOW },
    postcopyAfterPasses: 0,
    lanes: asked,
  });
  let hasPaused = false;
  outgoing.on('status', (status) => {
    hasPaused ||= status === 'postcopy-paused';
  });
  await until('pages come', () => areActive(outgoing, incoming) && incoming.info().ram.postcopyRequestsServed > 0);
  await meanwhile(outgoing, incoming);
  outgoing.setParameters({ maxPostcopyBandwidth: 0 });
  const [sent, received] = await Promise.all([outgoing.finished, incoming.finished]);
  expect(received.faults.count).toBeGreaterThan(0);
  expect(sent.ram.postcopyRequests).toBeGreaterThan(0);
  // Each page was sent once, over whichever connection. Of a send that a pause broke off some may have come, and the
  // source counts none.
  if (!hasPaused) {
    expect(sent.ram.normal + sent.ram.duplicate).toBeGreaterThanOrEqual(received.ram.normal + received.ram.duplicate);
  }
  await target.stop();
  expect(await target.verify()).toMatchObject({ lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0 });
}

test('a precopy that completes has no use for them, and leaves none', async () => {
  const capabilities = { postcopyRam: true };
  using source = await StressGuest.create({ memory, writesPerSecond });
  using target = StressGuest.empty({ memory });
  await source.start();
  const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities, lanes: 2 });
  const outgoing = await migrate(source, incoming.uri, { capabilities, parameters: { maxBandwidth: 0 }, lanes: 2 });
  const warnings: Error[] = [];
  outgoing.on('warning', (warning) => warnings.push(warning));
  await Promise.all([outgoing.finished, incoming.finished]);
  expect(laneThreads()).toBe(0);
  expect(warnings).toEqual([]);
  await target.stop();
  expect(await target.verify()).toMatchObject({ lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0 });
});

test.each<[string, (outgoing: OutgoingMigration) => boolean]>([
  ['at once', () => true],
  ['when it is active', ({ status }) => status === 'active'],
  ['when there is a lane', () => laneThreads() > 0],
])('cancelled %s it leaves none either', async (_when, isTime) => {
  const capabilities = { postcopyRam: true };
  using source = await StressGuest.create({ memory, writesPerSecond });
  using target = StressGuest.empty({ memory });
  await source.start();
  const incoming = await listen('tcp:127.0.0.1:0', { guest: target, capabilities, lanes: 3 });
  const outgoing = await migrate(source, incoming.uri, { capabilities, parameters: { maxBandwidth: SLOW }, lanes: 3 });
  await until('it is time', () => isTime(outgoing));
  outgoing.cancel();
  await expect(outgoing.finished).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(laneThreads()).toBe(0);
  expect(source.running).toBe(true);
  await expect(incoming.finished).rejects.toMatchObject({ code: 'PEER_GONE' });
});

const laneThreads = () => countThreads('mig/src/lane');

test.each([
  { asked: 1, taken: 1, lanes: 1 },
  { asked: 3, taken: 3, lanes: 3 },
  { asked: 4, taken: 2, lanes: 2 },
  { asked: 1, taken: 4, lanes: 1 },
  { asked: 2, taken: 0, lanes: 0 },
  { asked: 0, taken: 2, lanes: 0 },
])('$asked asked for, $taken taken: there are $lanes', ({ lanes, ...sides }) =>
  move(sides, async () => expect(laneThreads()).toBe(lanes)),
);

test('the memory of a file', () => move({ asked: 2, taken: 2, kind: 'memfd' }, async () => {}));

test('with the preempt channel on at both sides there are lanes in its place', () =>
  move({ asked: 2, taken: 2, preempt: true }, async () => expect(laneThreads()).toBe(2)));

test.each([
  { asked: 2, taken: 0 },
  { asked: 0, taken: 2 },
])('and where $asked are asked for and $taken taken, the preempt channel', (sides) =>
  move({ ...sides, preempt: true }, async (outgoing) => {
    expect(laneThreads()).toBe(0);
    await until('requests come', () => outgoing.info().ram.postcopyRequests > 0);
  }),
);

test('pauses and recovers, three times, with lanes again', () =>
  move({ asked: 2, taken: 2 }, async (outgoing, incoming) => {
    for (let round = 0; round < 3; round += 1) {
      expect(round % 2 === 0 ? incoming.pause() : outgoing.pause()).toBe(true);
      await until('both have paused', () =>
        [outgoing.status, incoming.status].every((status) => status === 'postcopy-paused'),
      );
      expect(laneThreads()).toBe(0);
      const { postcopyRequestsServed: served } = incoming.info().ram;
      await outgoing.recover(await incoming.recover());
      await until('pages come again', () => {
        return areActive(outgoing, incoming) && incoming.info().ram.postcopyRequestsServed > served;
      });
      expect(laneThreads()).toBe(2);
    }
  }));

/** With a source whose connections behind the first go where `elsewhere` says. */
async function moveWith(
  elsewhere: (uri: string) => Promise<ReturnType<typeof connect> extends Promise<infer Socket> ? Socket : never>,
): Promise<readonly Error[]> {
  using source = await StressGuest.create({ memory, writesPerSecond });
  using target = StressGuest.empty({ memory });
  await source.start();
  const capabilities = resolveCapabilities({ postcopyRam: true });
  const common = { capabilities, guestTimeoutMs: 0, peerTimeoutMs: 0, lanes: 2 };
  const incoming = new IncomingMigration(await bind('tcp:127.0.0.1:0'), target, { ...common, prefetch: 'none' });
  const options = { ...common, parameters: resolveParameters({}), postcopyAfterPasses: 0 };
  const socket = await connect(incoming.uri);
  const outgoing = new Outgoing(source, socket, incoming.uri, options, elsewhere);
  const warnings: Error[] = [];
  outgoing.on('warning', (warning) => warnings.push(warning));
  await Promise.all([outgoing.finished, incoming.finished]);
  await target.stop();
  expect(await target.verify()).toMatchObject({ lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0 });
  return warnings;
}

test('where lanes can not be made, the guest moves without, and the source warns', async () => {
  let calls = 0;
  const warnings = await moveWith((uri) => {
    calls += 1;
    return calls === 2 ? Promise.reject(new Error('no more connections')) : connect(uri);
  });
  expect(warnings).toEqual([
    expect.objectContaining({ message: expect.stringMatching(/no lanes .*no more connections/) }),
  ]);
});

test('strangers who come as lanes do, and say nothing or something else, are not taken for one', async () => {
  const strangers: Awaited<ReturnType<typeof connect>>[] = [];
  const { eventfdCreate, eventfdClose, socketClose, socketSend } = native();
  const kick = eventfdCreate();
  const warnings = await moveWith(async (uri) => {
    const [silent, loud] = [await connect(uri), await connect(uri)];
    strangers.push(silent, loud);
    try {
      socketSend(loud, kick, Uint8Array.of(1, 2, 3, 4, 5), 0, 5);
    } catch (error) {
      expect((error as NativeError).code).toMatch(/EPIPE|ECONNRESET/);
    }
    return connect(uri);
  });
  for (const stranger of strangers) socketClose(stranger);
  eventfdClose(kick);
  expect(warnings).toEqual([]);
});
