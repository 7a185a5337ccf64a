/** The warm-up: goes through the way of a requested page, over made-up channels, and leaves nothing behind. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { type EventfdHandle, native } from '#lib/native.js';
import type { ReturnPathThreadData } from '#lib/source/return-path-thread.js';
import { SourceBitmaps } from '#lib/source/source-bitmaps.js';
import { createSourceCounters } from '#lib/source/source-counters.js';
import { createSourceSignals } from '#lib/source/source-signals.js';
import { WarmUp } from '#lib/source/warm-up.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
let kick: EventfdHandle;
beforeEach(() => {
  leaks = handleLeaks();
  kick = native().eventfdCreate();
});
afterEach(() => {
  native().eventfdClose(kick);
  expect(leaks()).toEqual({});
});

const dataOf = (blocks: readonly RAMBlock[]): ReturnPathThreadData => ({
  channel: { socket: 0 as ReturnPathThreadData['channel']['socket'], peer: 'the real one' },
  isRecovery: false,
  blocks: blocks.map(({ descriptor }) => descriptor),
  status: new SharedArrayBuffer(4),
  signals: createSourceSignals().buffer,
  counters: createSourceCounters().buffer,
  queue: new SharedArrayBuffer(4),
  bitmaps: new SourceBitmaps(blocks.map(({ size }) => size)).descriptor,
  urgentLock: new SharedArrayBuffer(8),
  lanes: 0,
});

test('each round has requests that are whole, for pages that are dirty, and none of it is the migration itself', () => {
  using block = RAMBlock.create({ idstr: 'ram', size: 64 * 4096 });
  const real = dataOf([block]);
  let made: ReturnPathThreadData | undefined;
  let requests = 0;
  const warmUp = WarmUp.create(real, kick, (data) => {
    made = data;
    return (bytes) => {
      const decoder = new ReturnPathDecoder();
      const dirty = new SourceBitmaps([block.size], data.bitmaps).dirty[0];
      for (let at = 0; at < bytes.length; at += decoder.consumed) {
        const message = decoder.next(bytes, new DataView(bytes.buffer), at, bytes.length);
        expect(message).toMatchObject({ type: 'REQ_PAGES', length: 4096 });
        expect(dirty.clear((message as { start: number }).start / 4096)).toBe(true);
        requests += 1;
      }
    };
  });
  let rounds = 0;
  for (; warmUp?.isDue; rounds += 1) warmUp.round();
  expect(rounds).toBeGreaterThan(10);
  expect(requests).toBe(rounds * 32);
  for (const name of ['channel', 'status', 'signals', 'counters', 'queue', 'bitmaps', 'urgentLock'] as const) {
    expect(made?.[name]).not.toBe(real[name]);
  }
});

test('a round that fails is the last', () => {
  using block = RAMBlock.create({ idstr: 'ram', size: 64 * 4096 });
  const warmUp = WarmUp.create(dataOf([block]), kick, () => () => {
    throw new Error('the guest has let go of its memory');
  });
  warmUp?.round();
  expect(warmUp?.isDue).toBe(false);
});

test('closed early it leaves nothing, and a guest that is too small has none', () => {
  using block = RAMBlock.create({ idstr: 'ram', size: 64 * 4096 });
  using small = RAMBlock.create({ idstr: 'small', size: 4096 });
  const warmUp = WarmUp.create(dataOf([block]), kick, () => () => {});
  warmUp?.round();
  warmUp?.close();
  warmUp?.close();
  expect(WarmUp.create(dataOf([small]), kick, () => () => {})).toBeUndefined();
});
