/** The windows in which a migration sees how the guest writes. */
import { expect, test } from 'vitest';
import { WriteSampler } from '#lib/source/write-sampler.js';

const none = { ms: 0, pages: 0 };

test('a short and a long window by turns', () => {
  const sampler = new WriteSampler(0);
  expect([sampler.isDue(249), sampler.isDue(250)]).toEqual([false, true]);
  sampler.read(250, 250, 10);
  expect(sampler.windows).toEqual([{ ms: 250, pages: 10 }, none]);
  expect([sampler.isDue(1249), sampler.isDue(1250)]).toEqual([false, true]);
  sampler.read(1250, 1250, 30);
  expect(sampler.windows).toEqual([
    { ms: 250, pages: 10 },
    { ms: 1000, pages: 30 },
  ]);
  expect(sampler.isDue(1500)).toBe(true);
});

test('a sync is the end of a window, and one that is too short is none', () => {
  const sampler = new WriteSampler(0);
  sampler.read(10, 12, 5);
  expect(sampler.windows).toEqual([none, none]);
  sampler.read(112, 112, 7);
  expect(sampler.windows).toEqual([{ ms: 100, pages: 7 }, none]);
  sampler.read(2112, 2112, 9);
  expect(sampler.windows[1]).toEqual({ ms: 2000, pages: 9 });
});

test('a look that takes long is not taken often', () => {
  const sampler = new WriteSampler(0);
  sampler.read(250, 350, 10); // 100 ms
  expect([sampler.isDue(5349), sampler.isDue(5350)]).toEqual([false, true]);
});

test('what a window told long ago is forgotten', () => {
  const sampler = new WriteSampler(0);
  sampler.read(250, 250, 10);
  sampler.read(1250, 1250, 30);
  for (let nowMs = 1350; nowMs <= 7000; nowMs += 100) sampler.read(nowMs, nowMs, 1);
  expect(sampler.windows).toEqual([{ ms: 100, pages: 1 }, none]);
});
