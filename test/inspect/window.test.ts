/** The window over a recording: what is not decoded stays, what is makes room, and it grows only when it must. */
import { expect, test } from 'vitest';
import { Window } from '#lib/inspect/window.js';
import { memorySource } from '../../testing/memory-source.js';

const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
const held = (window: Window) => [...window.bytes.subarray(window.start, window.end)];

test('reads on behind what is not decoded, to the end', async () => {
  const window = new Window(16);
  const source = memorySource(bytes, 10);
  const seen: number[] = [];
  while (await window.fill(source, 0)) {
    // All but one byte, which the next read finds in front.
    seen.push(...held(window).slice(0, -1));
    window.start = window.end - 1;
    expect(window.bytes.length).toBe(16);
  }
  expect([...seen, ...held(window)]).toEqual([...bytes]);
});

test('grows to what is needed, in powers of two, and keeps what it holds', async () => {
  const window = new Window(16);
  const source = memorySource(bytes);
  await window.fill(source, 0);
  window.start = 3;
  await window.fill(source, 100);
  expect(window.bytes.length).toBe(128);
  expect(held(window)).toEqual([...bytes.subarray(3, 3 + window.length)]);
  expect(window.view.getUint8(window.start)).toBe(3);
});

test('a full window makes room for one more byte at least', async () => {
  const window = new Window(16);
  const source = memorySource(bytes);
  for (let i = 0; i < 3; i++) await window.fill(source, 0);
  expect(window.length).toBeGreaterThan(16);
  expect(held(window)).toEqual([...bytes.subarray(0, window.length)]);
});
