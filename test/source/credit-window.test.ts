/** The credit window: never more on its way than it says, and as wide as the link needs, no wider. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CreditWindow } from '#lib/source/credit-window.js';

const FIRST = 0x10000;
const STEP = 128 * 1024;

/**
 * A link of so many bytes a µs and so long a round trip: a sender that sends whenever it may, batch by
 * batch. The window's width at the end, and the most that was ever on its way.
 */
function simulate(bytesPerUs: number, roundTripUs: number, batchBytes: number, totalBytes: number) {
  const window = new CreditWindow(FIRST, STEP, 0);
  const pongs: { value: number; atUs: number }[] = [];
  const answered: number[] = [];
  let nowUs = 0;
  let linkFreeUs = 0;
  let sent = 0;
  let inFlightMax = 0;
  const arrivals: { bytes: number; atUs: number }[] = [];
  while (sent < totalBytes) {
    if (window.isOpen && !window.pingIsDue) {
      window.count(batchBytes);
      sent += batchBytes;
      linkFreeUs = Math.max(linkFreeUs, nowUs) + batchBytes / bytesPerUs;
      arrivals.push({ bytes: batchBytes, atUs: linkFreeUs + roundTripUs / 2 });
      const arrived = arrivals.reduce((sum, { bytes, atUs }) => sum + (atUs <= nowUs ? bytes : 0), 0);
      inFlightMax = Math.max(inFlightMax, sent - arrived);
    } else if (window.pingIsDue) {
      pongs.push({ value: window.ping(nowUs), atUs: Math.max(linkFreeUs, nowUs) + roundTripUs });
    } else {
      const pong = pongs.shift() as { value: number; atUs: number };
      nowUs = Math.max(nowUs, pong.atUs);
      window.pong(pong.value, nowUs);
      answered.push(pong.value);
    }
  }
  return { windowBytes: window.windowBytes, inFlightMax, mbPerS: sent / nowUs, answered };
}

test('with longer steps the narrowest window is wider', () => {
  const window = new CreditWindow(FIRST, STEP, 0);
  expect(window.windowBytes).toBe(2 * STEP);
  window.count(STEP);
  expect(window.pingIsDue).toBe(true);
  window.stepBytes = 2 * STEP;
  expect(window.windowBytes).toBe(4 * STEP);
  expect(window.pingIsDue).toBe(false);
  window.count(STEP);
  expect(window.pingIsDue).toBe(true);
  window.ping(0);
  expect(window.isOpen).toBe(true);
  window.stepBytes = STEP;
  expect(window.isOpen).toBe(false);
});

describe('on a link', () => {
  test('of next to no delay it stays at its narrowest', () => {
    const { windowBytes } = simulate(1000, 50, 64 * 1024, 64 * 2 ** 20);
    expect(windowBytes).toBeLessThanOrEqual(3 * STEP);
  });

  test('of 1 GB/s and 10 ms it grows until the link is busy', () => {
    const { windowBytes, mbPerS } = simulate(1000, 10_000, 64 * 1024, 2 ** 30);
    expect(windowBytes).toBeGreaterThan(10_000 * 1000);
    expect(windowBytes).toBeLessThan(40_000 * 1000);
    expect(mbPerS).toBeGreaterThan(500);
  });

  test('whatever it is, no more is on its way than the window and one batch', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 10, max: 20_000 }),
        fc.integer({ min: 1, max: 16 }),
        (bytesPerUs, roundTripUs, pages) => {
          const { inFlightMax, answered } = simulate(bytesPerUs, roundTripUs, pages * 4104, 8 * 2 ** 20);
          expect(inFlightMax).toBeLessThanOrEqual(256 * 2 ** 20);
          expect(answered).toEqual(answered.map((_, index) => FIRST + index));
        },
      ),
      { numRuns: 50 },
    );
  });
});

test('closed once the window is full, open again when what was sent is placed', () => {
  const window = new CreditWindow(FIRST, STEP, 0);
  for (let step = 0; step < 2; step += 1) {
    expect(window.isOpen).toBe(true);
    window.count(STEP);
    expect(window.pingIsDue).toBe(true);
    expect(window.ping(step)).toBe(FIRST + step);
    expect(window.pingIsDue).toBe(false);
  }
  expect(window.isOpen).toBe(false);
  window.pong(FIRST, 10);
  expect(window.isOpen).toBe(true);
});

test('one pong answers every ping before it; pongs of other pings, and of none, change nothing', () => {
  const window = new CreditWindow(FIRST, STEP, 0);
  window.count(STEP);
  window.ping(0);
  window.count(STEP);
  window.ping(1);
  for (const value of [0, 1, 4, 0x101, FIRST - 1, FIRST + 2, 2 ** 32 - 1]) window.pong(value, 5);
  expect(window.isOpen).toBe(false);
  window.pong(FIRST + 1, 6);
  expect(window.isOpen).toBe(true);
  window.count(2 * STEP - 1);
  expect(window.isOpen).toBe(true);
});

test('what was on its way when a connection was lost is not, on the next', () => {
  const window = new CreditWindow(FIRST, STEP, 0);
  while (window.isOpen) {
    window.count(STEP);
    window.ping(0);
  }
  window.reconnect(1000);
  expect([window.isOpen, window.pingIsDue]).toEqual([true, false]);
  window.count(STEP);
  expect(window.pingIsDue).toBe(true);
  const value = window.ping(2000);
  expect(value).toBeGreaterThan(FIRST + 1); // no ping of before has that value
  window.count(window.windowBytes - STEP);
  expect(window.isOpen).toBe(false);
  window.pong(value, 3000);
  expect(window.isOpen).toBe(true);
});
