/** The rate limit as its user drives it: at most the budget of the windows that have begun, plus one batch. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { RateLimit, WINDOW_MS } from '#lib/source/rate-limit.js';

interface Sent {
  readonly atMs: number;
  readonly bytes: number;
}

/** Sends whenever it may, batches one after another, each after a pause; what went when. */
function drive(limit: RateLimit, startMs: number, batches: readonly number[], pauses: readonly number[]): Sent[] {
  const sent: Sent[] = [];
  let now = startMs;
  for (const [index, bytes] of batches.entries()) {
    now += pauses[index % pauses.length];
    for (let rest = limit.restMs(now); rest > 0; rest = limit.restMs(now)) now += rest;
    limit.count(bytes);
    sent.push({ atMs: now - startMs, bytes });
  }
  return sent;
}

test('over any run of windows never more than their budgets and one batch (property)', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 10, max: 10_000 }), // budget of a window
      fc.array(fc.integer({ min: 1, max: 30_000 }), { minLength: 1, maxLength: 60 }),
      fc.array(fc.integer({ min: 0, max: 350 }), { minLength: 1, maxLength: 10 }),
      fc.integer({ min: 0, max: 1_000_000 }),
      (budget, batches, pauses, startMs) => {
        const sent = drive(new RateLimit((budget * 1000) / WINDOW_MS, startMs), startMs, batches, pauses);
        const largest = Math.max(...batches);
        for (const [first, { atMs: from }] of sent.entries()) {
          let bytes = 0;
          for (const { atMs, bytes: more } of sent.slice(first)) {
            bytes += more;
            const windows = Math.floor(atMs / WINDOW_MS) - Math.floor(from / WINDOW_MS) + 1;
            expect(bytes).toBeLessThanOrEqual(windows * budget + largest);
          }
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('what may be sent is sent: whoever always has more uses the budget of every window (property)', () => {
  fc.assert(
    fc.property(fc.integer({ min: 10, max: 10_000 }), fc.integer({ min: 1, max: 5000 }), (budget, batch) => {
      const sent = drive(new RateLimit((budget * 1000) / WINDOW_MS, 0), 0, new Array(100).fill(batch), [0]);
      const windows = Math.floor((sent.at(-1)?.atMs ?? 0) / WINDOW_MS) + 1;
      expect(100 * batch).toBeGreaterThan((windows - 1) * budget);
    }),
  );
});

test('rests to the end of the window, and no longer', () => {
  const limit = new RateLimit(10_000, 500);
  limit.count(1000);
  expect(limit.restMs(530)).toBe(70);
  expect(limit.restMs(600)).toBe(0);
});

test('time that was not used is not saved up', () => {
  const limit = new RateLimit(10_000, 0);
  expect(limit.restMs(10_000)).toBe(0);
  limit.count(1000);
  expect(limit.restMs(10_000)).toBe(100);
});

test.each([
  ['from the start', () => new RateLimit(0, 0)],
  [
    'after a reset',
    () => {
      const limit = new RateLimit(1, 0);
      limit.count(1e9);
      limit.reset(0, 50);
      return limit;
    },
  ],
])('0 is no limit, %s', (_when, create) => {
  const limit = create();
  for (let now = 50; now < 1000; now += 30) {
    limit.count(1e12);
    expect(limit.restMs(now)).toBe(0);
  }
});

test('a reset begins a new window with a new budget', () => {
  const limit = new RateLimit(1000, 0);
  limit.count(1e6);
  limit.reset(2000, 30);
  limit.count(199);
  expect(limit.restMs(30)).toBe(0);
  limit.count(1);
  expect(limit.restMs(40)).toBe(90);
});
