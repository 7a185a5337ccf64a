/** The forecast of a precopy: its closed form against the passes gone through, its remedies, and what it must obey. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DirtyCurve } from '#lib/source/dirty-curve.js';
import { type ForecastInput, forecast } from '#lib/source/forecast.js';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const page = 4096;

const curveOf = (bytesPerSecond: number, workingSet: number): DirtyCurve => ({
  writesPerSecond: bytesPerSecond / page,
  workingSetPages: workingSet / page,
});

const input = (change: Partial<ForecastInput> = {}): ForecastInput => ({
  curve: curveOf(50 * MiB, GiB),
  bandwidth: 200 * MiB,
  downtimeLimit: 300,
  remaining: 4 * GiB,
  total: 4 * GiB,
  ...change,
});

test('a guest that writes nothing takes as long as its RAM', () => {
  const still = forecast(input({ curve: { writesPerSecond: 0, workingSetPages: 0 } }));
  expect(still).toMatchObject({ converges: true, passes: 1, dirtyBytesPerSecond: 0 });
  expect(still.seconds).toBeCloseTo((4 * GiB) / (200 * MiB), 0);
});

test('one that writes less than goes through ends, after passes that get shorter', () => {
  const { converges, seconds, passes, downtimeMs, remedies } = forecast(input());
  expect(converges).toBe(true);
  expect(passes).toBeGreaterThan(1);
  expect(seconds).toBeGreaterThan(20.4);
  expect(seconds).toBeLessThan(30);
  expect(downtimeMs).toBeLessThanOrEqual(300);
  expect(remedies).toBeUndefined();
});

test('one that writes more never ends, unless what it writes is as small as the downtime allows', () => {
  const writes = curveOf(900 * MiB, GiB);
  const never = forecast(input({ curve: writes }));
  expect(never).toMatchObject({ converges: false, seconds: null, passes: null });
  // W(1 - B/r)
  expect(never.downtimeMs).toBeCloseTo(((GiB * (1 - 200 / 900)) / (200 * MiB)) * 1000, 0);
  expect(forecast(input({ curve: curveOf(900 * MiB, 50 * MiB) })).converges).toBe(true);
});

describe('each remedy', () => {
  const stuck = input({ curve: curveOf(900 * MiB, GiB) });
  const { remedies } = forecast(stuck);
  if (remedies === undefined) throw new Error('no remedies');

  test('of the downtime limit makes it end', () => {
    expect(forecast({ ...stuck, downtimeLimit: remedies.downtimeLimit }).converges).toBe(true);
    expect(forecast({ ...stuck, downtimeLimit: remedies.downtimeLimit / 1.5 }).converges).toBe(false);
  });

  test('of the bandwidth makes it end', () => {
    expect(forecast({ ...stuck, bandwidth: remedies.bandwidth }).converges).toBe(true);
    expect(forecast({ ...stuck, bandwidth: remedies.bandwidth / 1.5 }).converges).toBe(false);
  });

  test('of the throttle makes it end', () => {
    const held = (percent: number) => curveOf((900 * MiB * (100 - percent)) / 100, GiB);
    expect(forecast({ ...stuck, curve: held(remedies.throttlePercent) }).converges).toBe(true);
    expect(forecast({ ...stuck, curve: held(remedies.throttlePercent - 15) }).converges).toBe(false);
  });

  test('of postcopy is a pass and what was written in it', () => {
    expect(remedies.postcopySeconds).toBeGreaterThan(20);
    expect(remedies.postcopySeconds).toBeLessThan(27);
  });
});

const anyInput = fc
  .record({
    rate: fc.integer({ min: 1, max: 4000 }),
    workingSet: fc.integer({ min: 1, max: 4096 }),
    bandwidth: fc.integer({ min: 1, max: 4000 }),
    downtimeLimit: fc.integer({ min: 1, max: 2000 }),
  })
  .map(({ rate, workingSet, bandwidth, downtimeLimit }) =>
    input({ curve: curveOf(rate * MiB, workingSet * MiB), bandwidth: bandwidth * MiB, downtimeLimit }),
  );

test('what is forecast is finite, and JSON (property)', () => {
  fc.assert(
    fc.property(anyInput, (asked) => {
      const told = forecast(asked);
      expect(JSON.parse(JSON.stringify(told))).toEqual(told);
      expect(told.downtimeMs).toBeGreaterThan(0);
      expect(told.converges).toBe(told.remedies === undefined);
    }),
  );
});

test('it never ends where more stays dirty than fits, and ends where twice as much would (property)', () => {
  fc.assert(
    fc.property(anyInput, (asked) => {
      const { writesPerSecond: r, workingSetPages: w } = asked.curve;
      const sent = asked.bandwidth / page;
      const stays = r <= sent ? 0 : w * (1 - sent / r);
      const allowed = (sent * asked.downtimeLimit) / 1000;
      if (Math.abs(r - sent) < sent * 0.05) return; // too close to call
      const { converges } = forecast(asked);
      if (stays > allowed) expect(converges).toBe(false);
      if (stays < allowed * 0.45) expect(converges).toBe(true); // a sync finds up to twice what stays dirty
    }),
  );
});

test('a downtime limit below what a PART takes: what a sync finds is more than what stays dirty', () => {
  const short = input({ curve: curveOf(77 * MiB, 2 * MiB), bandwidth: 73 * MiB, downtimeLimit: 2 });
  const { converges, downtimeMs, remedies } = forecast(short);
  expect(converges).toBe(false);
  expect(downtimeMs).toBeGreaterThan(2);
  expect(forecast({ ...short, downtimeLimit: remedies?.downtimeLimit ?? 0 }).converges).toBe(true);
});

test('what each remedy says would make it end does (property)', () => {
  fc.assert(
    fc.property(anyInput, (asked) => {
      const { remedies } = forecast(asked);
      if (remedies === undefined) return;
      const { curve } = asked;
      const { throttlePercent, downtimeLimit, bandwidth } = remedies;
      const held = { ...curve, writesPerSecond: curve.writesPerSecond * (1 - throttlePercent / 100) };
      expect(forecast({ ...asked, downtimeLimit }).converges).toBe(true);
      expect(forecast({ ...asked, bandwidth }).converges).toBe(true);
      if (throttlePercent < 99) expect(forecast({ ...asked, curve: held }).converges).toBe(true);
    }),
  );
});

test('more bandwidth never makes it end later (property)', () => {
  fc.assert(
    fc.property(anyInput, (asked) => {
      const slow = forecast(asked);
      const fast = forecast({ ...asked, bandwidth: asked.bandwidth * 2 });
      if (!slow.converges) return;
      expect(fast.converges).toBe(true);
      expect(fast.seconds ?? 0).toBeLessThanOrEqual((slow.seconds ?? 0) * 1.01);
    }),
  );
});

test('nothing that goes through never ends, and nothing helps', () => {
  const nothing = forecast(input({ bandwidth: 0 }));
  expect(nothing).toMatchObject({ converges: false, seconds: null });
  expect(nothing.remedies).toBeUndefined();
});
