/** The stress guest as the engine uses it: settings, running and standing still, its state, and its end. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { STRESS_IDSTR, StressGuest, type StressGuestSettings } from '#lib/guest/stress-guest.js';
import type { Guest } from '#lib/memory/guest.js';
import { native } from '#lib/native.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { until } from '../../testing/native-thread.ts';

const PAGE = 4096;
const small: StressGuestSettings = { memory: 64 * PAGE, writesPerSecond: 0 };
const guests: StressGuest[] = [];

async function create(settings: StressGuestSettings): Promise<StressGuest> {
  const guest = await StressGuest.create(settings);
  guests.push(guest);
  return guest;
}

function empty(settings: StressGuestSettings): StressGuest {
  const guest = StressGuest.empty(settings);
  guests.push(guest);
  return guest;
}

afterEach(() => {
  for (const guest of guests.splice(0)) guest.close();
  vi.restoreAllMocks();
});

/** Pages that hold anything but zeroes. */
function filledPages(guest: StressGuest): number {
  const [{ handle, size }] = guest.ramBlocks;
  const count = size / PAGE;
  const pages = Uint32Array.from({ length: count }, (_, page) => page);
  return count - native().findZeroPages(handle, PAGE, pages, count, new Uint8Array(count));
}

test('has one block of the asked size and kind, filled up to its share', async () => {
  const guest = await create({ ...small, kind: 'memfd', filledShare: 0.5 });
  expect(guest.ramBlocks.map(({ idstr, size, kind }) => ({ idstr, size, kind }))).toEqual([
    { idstr: STRESS_IDSTR, size: 64 * PAGE, kind: 'memfd' },
  ]);
  expect(filledPages(guest)).toBe(32);
  expect(guest.running).toBe(false);
});

describe('several blocks', () => {
  const layout = (guest: StressGuest) => guest.ramBlocks.map(({ idstr, size, kind }) => [idstr, size / PAGE, kind]);

  test('split its RAM, each larger than the one before, of the kinds in turn', async () => {
    const guest = await create({ ...small, blocks: 3, kinds: ['memfd', 'anonymous'] });
    expect(layout(guest)).toEqual([
      ['stress.ram', 11, 'memfd'],
      ['stress.ram.1', 21, 'anonymous'],
      ['stress.ram.2', 32, 'memfd'],
    ]);
    await guest.start();
    await until('it writes', () => guest.stats.writes > 500);
    await guest.stop();
    expect(await guest.verify()).toMatchObject({ pagesChecked: 64, badPages: [] });
  });

  test.each([
    [64, 64],
    [64, 1],
    [64, 5000],
    [7, 1000],
    [1, 1],
  ])('%i of them hold %i pages, or one each', (blocks, pages) => {
    const sizes = layout(empty({ ...small, memory: pages * PAGE, blocks })).map(([, size]) => Number(size));
    expect(sizes).toHaveLength(blocks);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(Math.max(blocks, pages));
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(1);
    expect(sizes).toEqual([...sizes].sort((a, b) => a - b));
    if (pages > blocks ** 2) expect(new Set(sizes).size).toBe(blocks);
  });

  test('move with a guest of the same blocks, and with no other', async () => {
    const settings: StressGuestSettings = { ...small, blocks: 5 };
    const source = await create(settings);
    await source.start();
    await until('it writes', () => source.stats.writes > 500);
    await source.stop();
    const destination = empty(settings);
    for (const [index, block] of destination.ramBlocks.entries()) block.bytes().set(source.ramBlocks[index].bytes());
    await destination.loadDeviceState(await source.saveDeviceState());
    expect(await destination.verify()).toMatchObject({ pagesChecked: 64, badPages: [] });
    const state = await source.saveDeviceState();
    await expect(empty({ ...small, blocks: 4 }).loadDeviceState(state)).rejects.toMatchObject({ code: 'GUEST_FAILED' });
  });
});

test('is held back and names its threads as the engine asks it to', async () => {
  const guest: Guest = await create({ ...small, vcpus: 2 });
  expect(guest.vcpuThreads).toEqual([]);
  guest.throttle?.(50);
  await guest.start();
  expect(guest.vcpuThreads).toHaveLength(2);
  guest.throttle?.(0);
  expect(() => guest.throttle?.(100)).toThrow(RangeError);
  await guest.stop();
});

test('an empty one has nothing in its RAM', () => {
  expect(filledPages(empty(small))).toBe(0);
});

test('one vCPU more than there are pages to write still has a page each', async () => {
  const guest = await create({ ...small, memory: 8 * PAGE, vcpus: 8, filledShare: 0.01, workingSetShare: 0.01 });
  await guest.start();
  await until('it writes', () => guest.stats.writes >= 100);
  await guest.stop();
  expect((await guest.verify()).lostWrites).toBe(0);
});

test('runs until it is stopped, and then touches nothing any more', async () => {
  const guest = await create({ ...small, vcpus: 2 });
  await guest.start();
  expect(guest.running).toBe(true);
  await until('it writes', () => guest.stats.writesHere > 1000);
  await guest.stop();
  expect(guest.running).toBe(false);
  const { writes } = guest.stats;
  const still = Buffer.from(guest.ramBlocks[0].bytes());
  await until('other work is done', () => true);
  expect(guest.stats.writes).toBe(writes);
  expect(still.equals(guest.ramBlocks[0].bytes())).toBe(true);
  expect(await guest.verify()).toEqual({
    pagesChecked: 64,
    lostPages: 0,
    tornPages: 0,
    stalePages: 0,
    lostWrites: 0,
    badPages: [],
  });
});

test('is moved by its RAM and its device state, and goes on counting', async () => {
  const source = await create({ ...small, seed: 9 });
  await source.start();
  await until('it writes', () => source.stats.writes > 500);
  await source.stop();
  const destination = empty(small);
  destination.ramBlocks[0].bytes().set(source.ramBlocks[0].bytes());
  await destination.loadDeviceState(await source.saveDeviceState());
  expect(destination.stats).toMatchObject({ writes: source.stats.writes, writesHere: 0 });
  expect((await destination.verify()).lostWrites).toBe(0);
  await destination.start();
  await until('it writes on', () => destination.stats.writesHere > 500);
  await destination.stop();
  expect(destination.stats).toMatchObject({ badPages: 0, lostWrites: 0 });
});

describe('the check finds', () => {
  test.each<[string, (page: Uint8Array, before: Uint8Array) => void, string]>([
    ['a page that reads zero', (page) => page.fill(0), 'lostPages'],
    ['half an older page', (page, before) => page.set(before.subarray(0, 2048)), 'tornPages'],
    ['an older page', (page, before) => page.set(before), 'stalePages'],
  ])('%s', async (_what, damage, counter) => {
    const guest = await create({ ...small, memory: PAGE, filledShare: 1, workingSetShare: 1 });
    const page = guest.ramBlocks[0].bytes();
    const before = page.slice();
    await guest.start();
    await until('it writes', () => guest.stats.writes > 10);
    await guest.stop();
    damage(page, before);
    const verdict = await guest.verify();
    expect({ ...verdict, lostWrites: verdict.lostWrites > 0 }).toEqual({
      pagesChecked: 1,
      lostPages: 0,
      tornPages: 0,
      stalePages: 0,
      [counter]: 1,
      lostWrites: counter !== 'tornPages' ? true : verdict.lostWrites > 0,
      badPages: [0],
    });
  });
});

test('a device state that is none is GUEST_FAILED, and the guest can still take a good one', async () => {
  const source = await create(small);
  const destination = empty(small);
  await expect(destination.loadDeviceState(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({
    code: 'GUEST_FAILED',
    cause: expect.any(Error),
  });
  await destination.loadDeviceState(await source.saveDeviceState());
});

describe('its end', () => {
  test('leaves nothing, also while it runs', async () => {
    const leaks = handleLeaks();
    const guest = await StressGuest.create(small);
    await guest.start();
    guest.close();
    expect(leaks()).toEqual({});
    guest.close(); // harmless
  });

  test('a fill that fails leaves nothing', async () => {
    const leaks = handleLeaks();
    vi.spyOn(native(), 'stressGuestFill').mockRejectedValueOnce(new Error('no memory'));
    await expect(StressGuest.create(small)).rejects.toThrow('no memory');
    expect(leaks()).toEqual({});
  });

  test('settings that cannot be leave nothing either', async () => {
    const leaks = handleLeaks();
    await expect(StressGuest.create({ ...small, vcpus: 0 })).rejects.toThrow(RangeError);
    await expect(StressGuest.create({ ...small, vcpus: 65 })).rejects.toThrow(RangeError);
    for (const wrong of [{ memory: 0 }, { blocks: 0 }, { blocks: 65 }, { blocks: 1.5 }, { kinds: [] }]) {
      await expect(StressGuest.create({ ...small, ...wrong })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    }
    // The second block can't be mapped: the first goes too.
    await expect(StressGuest.create({ ...small, memory: 2 ** 50, blocks: 2 })).rejects.toThrow();
    expect(leaks()).toEqual({});
  });
});
