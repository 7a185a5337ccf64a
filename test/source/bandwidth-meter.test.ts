/** The bandwidth meter, told the time. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BandwidthMeter } from '#lib/source/bandwidth-meter.js';

test('is 0 until a window of 100 ms is over', () => {
  const meter = new BandwidthMeter(1000);
  meter.measure(1099, 5000, 0);
  expect(meter.bytesPerSecond).toBe(0);
  meter.measure(1100, 5000, 0);
  expect(meter.bytesPerSecond).toBe(50_000);
});

test('tells of the last whole window, not of the one that runs', () => {
  const meter = new BandwidthMeter(0);
  meter.measure(100, 1000, 0);
  meter.measure(150, 1_000_000, 0);
  expect(meter.bytesPerSecond).toBe(10_000);
  meter.measure(300, 1000, 0); // nothing was sent for 200 ms
  expect(meter.bytesPerSecond).toBe(0);
});

test('a steady rate is measured as it is, however the looks are spread (property)', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000_000 }),
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 40 }),
      (bytesPerMs, gaps) => {
        const meter = new BandwidthMeter(0);
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          meter.measure(now, now * bytesPerMs, 0);
        }
        fc.pre(now >= 100);
        meter.measure(now + 100, (now + 100) * bytesPerMs, 0);
        expect(meter.bytesPerSecond).toBeCloseTo(bytesPerMs * 1000, 0);
      },
    ),
  );
});

test('counts pages beside bytes, and says when a window is over', () => {
  const meter = new BandwidthMeter(0);
  expect(meter.measure(99, 500, 10)).toBe(false);
  expect(meter.pagesPerSecond).toBe(0);
  expect(meter.measure(200, 1000, 20)).toBe(true);
  expect([meter.pagesPerSecond, meter.windowBytes]).toEqual([100, 1000]);
  expect(meter.measure(300, 1000, 25)).toBe(true);
  expect([meter.pagesPerSecond, meter.windowBytes]).toEqual([50, 0]);
});
