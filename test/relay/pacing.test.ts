/** Pacing against a clock that the test moves: rates hold in every second, nothing overtakes. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Bandwidth, BURST_MS, Latency, SLACK_MS, seededRandom } from '#lib/relay/pacing.js';

/** What a connection that always has bytes sends: [when they went, how many], over `ms` of time. */
function hungry(rate: number, ms: number, lateness: () => number): [number, number][] {
  const link = new Bandwidth(rate);
  const sent: [number, number][] = [];
  for (let now = 0; now < ms; ) {
    const bytes = Math.min(link.step, 65536);
    const departs = link.take(bytes, now);
    if (departs > now + SLACK_MS) now = departs + lateness();
    if (now < ms) sent.push([now, bytes]);
  }
  return sent;
}

/** Bytes that went within each second, which begin 50 ms apart. */
function perSecond(sent: readonly [number, number][], ms: number): number[] {
  const slots = new Array<number>(Math.ceil(ms / 50)).fill(0);
  for (const [at, bytes] of sent) slots[Math.floor(at / 50)] += bytes;
  return slots.slice(0, slots.length - 19).map((_, i) => slots.slice(i, i + 20).reduce((sum, slot) => sum + slot));
}

describe('bandwidth', () => {
  test('within 5 % of the rate in every second, however late timers come within the burst (property)', () => {
    const rates = fc.integer({ min: 2000, max: 2 ** 33 });
    const seeds = fc.nat();
    fc.assert(
      fc.property(rates, seeds, fc.double({ min: 0, max: BURST_MS / 2, noNaN: true }), (rate, seed, latest) => {
        const random = seededRandom(seed);
        // Few steps at a high rate: 64 KiB at a time is what a socket gives.
        const seconds = rate > 2 ** 28 ? 1.2 : 3;
        const sent = hungry(rate, seconds * 1000, () => random() * latest);
        for (const carried of perSecond(sent, seconds * 1000)) {
          expect(carried).toBeLessThanOrEqual(rate * 1.05);
          expect(carried).toBeGreaterThanOrEqual(rate * 0.95);
        }
      }),
      { numRuns: 40 },
    );
  });

  test('a slow link sends byte by byte and not in lumps', () => {
    const link = new Bandwidth(10);
    expect(link.step).toBe(1);
    link.take(1, 0);
    const second = link.take(1, 0);
    expect(link.take(1, 0) - second).toBeCloseTo(100);
  });

  test('what was not used is lost, but for the burst', () => {
    const link = new Bandwidth(1000);
    link.take(1000, 0);
    expect(link.take(BURST_MS, 100_000)).toBe(100_000);
    expect(link.take(10, 100_000)).toBeCloseTo(100_010);
  });

  test('connections that share a link share its rate', () => {
    const link = new Bandwidth(1_000_000);
    const last = [0, 0, 0];
    const counts = [0, 0, 0];
    for (let i = 0; i < 3000; i++) {
      // Whoever's last bytes went earliest asks next.
      const who = last.indexOf(Math.min(...last));
      last[who] = link.take(link.step, last[who]);
      counts[who]++;
    }
    // The first alone may have the burst, which is 8 steps.
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(10);
    expect(Math.max(...last)).toBeCloseTo((3000 * link.step) / 1000 - BURST_MS);
  });

  test('no limit: everything goes now', () => {
    const link = new Bandwidth(0);
    for (let i = 0; i < 100; i++) expect(link.take(2 ** 30, 5)).toBe(5);
    expect(link.step).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('latency', () => {
  test('the delay, and up to the jitter more, and no overtaking (property)', () => {
    fc.assert(
      fc.property(fc.nat(500), fc.nat(200), fc.nat(), fc.array(fc.nat(50)), (delay, jitter, seed, gaps) => {
        const line = new Latency(delay, jitter, seededRandom(seed));
        let now = 0;
        let last = 0;
        let latest = 0;
        for (const gap of gaps) {
          now += gap;
          const arrival = line.arrival(now);
          latest = Math.max(latest, now + delay + jitter);
          expect(arrival).toBeGreaterThanOrEqual(Math.max(last, now + delay));
          expect(arrival).toBeLessThanOrEqual(latest);
          last = arrival;
        }
      }),
    );
  });

  test('the same seed gives the same jitter, another one another', () => {
    const arrivals = (seed: number) => {
      const line = new Latency(10, 10, seededRandom(seed));
      return [0, 100, 200].map((at) => line.arrival(at));
    };
    expect(arrivals(1)).toEqual(arrivals(1));
    expect(arrivals(1)).not.toEqual(arrivals(2));
  });
});

test('seeded numbers are spread from 0 to 1', () => {
  const random = seededRandom(3);
  const tenths = new Array<number>(10).fill(0);
  for (let i = 0; i < 10_000; i++) tenths[Math.floor(random() * 10)]++;
  expect(Math.min(...tenths)).toBeGreaterThan(850);
  expect(Math.max(...tenths)).toBeLessThan(1150);
});
