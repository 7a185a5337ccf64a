/** Pacing: what holds the migration thread back, what never does, and that it sleeps only where nothing has changed. */
import { expect, test } from 'vitest';
import { defaultParameters } from '#lib/options.js';
import { LiveParameters } from '#lib/source/live-parameters.js';
import { Pacing } from '#lib/source/pacing.js';
import { PageRequestQueue } from '#lib/source/page-request-queue.js';
import { createSourceSignals } from '#lib/source/source-signals.js';
import { createTraceWords, Trace } from '#lib/trace/trace.js';
import { Ping } from '#lib/wire/protocol.js';

const MiB = 2 ** 20;
const SIGN_OF_LIFE_MS = 50;

function rig(bytesPerSecond: number) {
  const queue = new PageRequestQueue();
  const signals = createSourceSignals();
  const trace = new Trace({ words: createTraceWords(), ring: undefined });
  const parameters = new LiveParameters();
  parameters.set({ ...defaultParameters, maxBandwidth: bytesPerSecond, maxPostcopyBandwidth: 0 });
  signals.set('PONG', Ping.SETUP);
  return { queue, signals, parameters, pacing: new Pacing(queue, signals, trace, parameters, SIGN_OF_LIFE_MS) };
}

/** Pages with content were sent, as so many bytes. */
function sent(pacing: Pacing, bytes: number): void {
  pacing.count(bytes, bytes / 4096);
}

test('the rate limit holds back until it is lifted', () => {
  const { pacing } = rig(1);
  expect(pacing.maySend()).toBe(true);
  sent(pacing, MiB);
  expect(pacing.maySend()).toBe(false);
  pacing.lift();
  expect(pacing.maySend()).toBe(true);
});

test('in precopy no credit is needed, in postcopy a ping is due behind 128 KiB', () => {
  const { pacing, signals } = rig(0);
  sent(pacing, 64 * MiB);
  expect(pacing.maySend()).toBe(true);
  expect(pacing.duePing()).toBeUndefined();
  pacing.enterPostcopy();
  sent(pacing, 127 * 1024);
  expect(pacing.maySend()).toBe(true);
  sent(pacing, 1024);
  expect(pacing.maySend()).toBe(false);
  expect(pacing.duePing()).toBe(Ping.PLACED);
  expect(pacing.maySend()).toBe(true);
  sent(pacing, 128 * 1024);
  expect(pacing.duePing()).toBe(Ping.PLACED + 1);
  expect(pacing.maySend()).toBe(false); // 256 KiB are on their way
  signals.set('PONG_PLACED', Ping.PLACED);
  signals.bump('ATTENTION');
  pacing.rest(0); // looks at the pong
  expect(pacing.maySend()).toBe(true);
});

test('with a preempt channel steps are longer, and longest after 8 MiB without a request there', () => {
  const { pacing, signals } = rig(0);
  signals.set('PREEMPT', 1);
  pacing.enterPostcopy();
  sent(pacing, 1);
  sent(pacing, 512 * 1024 - 2);
  expect(pacing.duePing()).toBeUndefined();
  sent(pacing, 1);
  expect(pacing.duePing()).toBe(Ping.PLACED);
  for (let step = 0; step < 15; step += 1) sent(pacing, 512 * 1024);
  expect(pacing.batchPages).toBe(64);
  expect(pacing.duePing()).toBe(Ping.PLACED + 1);
  sent(pacing, 1024 * 1024 - 1);
  expect(pacing.duePing()).toBeUndefined();
  signals.bump('ASKED');
  sent(pacing, 1);
  expect(pacing.batchPages).toBe(64);
  expect(pacing.duePing()).toBe(Ping.PLACED + 2);
});

test('lanes are like a preempt channel', () => {
  const { pacing, signals } = rig(0);
  signals.set('LANES_OPEN', 2);
  pacing.enterPostcopy();
  expect(pacing.batchPages).toBe(64);
  sent(pacing, 512 * 1024 - 1);
  expect(pacing.duePing()).toBeUndefined();
  sent(pacing, 1);
  expect(pacing.duePing()).toBe(Ping.PLACED);
});

test('batches are long in precopy, short from the switch on, and longer after 8 MiB that nobody broke into', () => {
  const { pacing, queue } = rig(0);
  expect(pacing.batchPages).toBe(128);
  pacing.enterPostcopy();
  expect(pacing.batchPages).toBe(16);
  sent(pacing, 8 * MiB - 1);
  expect(pacing.batchPages).toBe(16);
  sent(pacing, 1);
  expect(pacing.batchPages).toBe(64);
  queue.push(0, 0, 1);
  expect(pacing.maySend()).toBe(true);
  expect(pacing.batchPages).toBe(16);
});

test('where runs are understood, a batch is a huge page while nobody broke in, and so is a step', () => {
  const { pacing, queue, parameters, signals } = rig(0);
  signals.set('RUNS', 1);
  expect(pacing.sendsRuns).toBe(true);
  expect(pacing.batchPages).toBe(512);
  pacing.enterPostcopy();
  expect(pacing.batchPages).toBe(16);
  for (let step = 0; step < 4; step += 1) {
    sent(pacing, 2 * MiB);
    expect(pacing.duePing()).toBe(Ping.PLACED + step);
  }
  expect(pacing.batchPages).toBe(512);
  sent(pacing, 2 * MiB - 1);
  expect(pacing.duePing()).toBeUndefined();
  sent(pacing, 1);
  expect(pacing.duePing()).toBe(Ping.PLACED + 4);
  parameters.set({ ...parameters.all(), maxPostcopyBandwidth: 200 * MiB - 1 });
  expect(pacing.batchPages).toBe(64);
  parameters.set({ ...parameters.all(), maxPostcopyBandwidth: 200 * MiB });
  expect(pacing.batchPages).toBe(512);
  queue.push(0, 0, 1);
  expect(pacing.maySend()).toBe(true);
  expect(pacing.batchPages).toBe(16);
});

test('it is quiet after so much memory, not after so many bytes: pages of zeroes take few', () => {
  const { pacing } = rig(0);
  pacing.enterPostcopy();
  pacing.count(1000, (8 * MiB) / 4096);
  expect(pacing.batchPages).toBe(64);
});

test('a page request is never held back', () => {
  const { pacing, queue, parameters } = rig(1);
  parameters.set({ ...parameters.all(), maxPostcopyBandwidth: 1 });
  pacing.enterPostcopy();
  sent(pacing, MiB);
  expect(pacing.maySend()).toBe(false);
  queue.push(0, 0, 1);
  expect(pacing.maySend()).toBe(true);
  pacing.rest(0); // and nothing rests meanwhile
});

test('what has changed since the last look ends a rest before it begins', () => {
  const { pacing, signals } = rig(0);
  pacing.enterPostcopy();
  sent(pacing, MiB);
  pacing.duePing();
  const attention = signals.get('ATTENTION');
  signals.bump('ATTENTION');
  pacing.rest(attention); // would sleep for ever
  expect(pacing.maySend()).toBe(false);
});

test('a limit that is changed holds from then on, in each phase its own', () => {
  const { pacing, parameters } = rig(1);
  sent(pacing, MiB);
  expect(pacing.maySend()).toBe(false);
  parameters.set({ ...parameters.all(), maxBandwidth: 0 });
  expect(pacing.maySend()).toBe(true);
  pacing.enterPostcopy();
  sent(pacing, 1);
  expect(pacing.maySend()).toBe(true);
  parameters.set({ ...parameters.all(), maxPostcopyBandwidth: 1 });
  expect(pacing.maySend()).toBe(true); // of a new window nothing is used up
  sent(pacing, 1);
  expect(pacing.maySend()).toBe(false);
});

test('a destination that has answered no ping is not waited for', () => {
  const { pacing, signals } = rig(0);
  signals.set('PONG', 0);
  pacing.enterPostcopy();
  for (let step = 0; step < 60; step += 1) {
    sent(pacing, 128 * 1024);
    expect(pacing.duePing()).toBeDefined();
    expect(pacing.maySend()).toBe(true);
  }
});

test('in postcopy a ping is due now and then, and a rest is no longer than until that', () => {
  const { pacing, signals } = rig(0);
  pacing.holdBackground(60_000);
  pacing.enterPostcopy();
  expect(pacing.maySend()).toBe(false);
  expect(pacing.duePing()).toBeUndefined();
  pacing.rest(signals.get('ATTENTION'));
  const first = pacing.duePing();
  expect(first).toBeDefined();
  expect(pacing.duePing()).toBeUndefined();
  pacing.rest(signals.get('ATTENTION'));
  expect(pacing.duePing()).toBeGreaterThan(first as number);
});

test('while background pages are held back those asked for go', () => {
  const { pacing, queue } = rig(0);
  pacing.enterPostcopy();
  pacing.holdBackground(60_000);
  expect(pacing.maySend()).toBe(false);
  queue.push(0, 1, 1);
  expect(pacing.maySend()).toBe(true);
});

test('background pages that are held back go when the destination has answered the ping in the package', () => {
  const { pacing, signals } = rig(0);
  pacing.enterPostcopy();
  pacing.holdBackground(60_000);
  expect(pacing.maySend()).toBe(false);
  signals.set('LOADED', 1);
  expect(pacing.maySend()).toBe(true);
});

test('background pages that are held back go when the time is over', () => {
  const { pacing, signals } = rig(0);
  pacing.enterPostcopy();
  pacing.holdBackground(20);
  expect(pacing.maySend()).toBe(false);
  pacing.rest(signals.get('ATTENTION'));
  expect(pacing.maySend()).toBe(true);
});
