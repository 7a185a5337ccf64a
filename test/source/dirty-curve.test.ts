/** The curve of different pages: what it says of a guest that is known, and what two windows tell of one. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DirtyCurve, fitDirtyCurve, pagesWithin, stillCurve } from '#lib/source/dirty-curve.js';

const TOTAL = 100_000;

describe('different pages within a time', () => {
  const curve: DirtyCurve = { writesPerSecond: 1000, workingSetPages: 5000 };

  test('are as many as writes at first, and the working set in the end', () => {
    expect(pagesWithin(curve, 0)).toBe(0);
    expect(pagesWithin(curve, 0.01)).toBeCloseTo(10, 1);
    expect(pagesWithin(curve, 1000)).toBeCloseTo(5000, 5);
    expect(pagesWithin(stillCurve, 10)).toBe(0);
  });

  test('are those that random writes to the working set hit', () => {
    let seed = 1;
    const hit = new Set<number>();
    for (let write = 0; write < 5000; write++) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      hit.add((seed >>> 8) % 5000);
    }
    expect(pagesWithin(curve, 5) / hit.size).toBeCloseTo(1, 1);
  });
});

describe('two windows', () => {
  test('tell writes and working set, where they show (property)', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 40_000 }),
        fc.double({ min: 0.05, max: 2.5, noNaN: true }),
        (workingSetPages, perPage) => {
          const writesPerSecond = workingSetPages * perPage;
          const real = { writesPerSecond, workingSetPages };
          const windows = [0.25, 1].map((s) => ({ ms: s * 1000, pages: pagesWithin(real, s) }));
          const fitted = fitDirtyCurve(windows, TOTAL);
          for (const seconds of [0.1, 1, 5]) {
            const ratio = pagesWithin(fitted ?? stillCurve, seconds) / pagesWithin(real, seconds);
            expect(ratio).toBeGreaterThan(0.8);
            expect(ratio).toBeLessThan(1.25);
          }
        },
      ),
    );
  });

  test('with four times as much in four times the time are a guest that never comes back', () => {
    const fitted = fitDirtyCurve(
      [
        { ms: 250, pages: 500 },
        { ms: 1000, pages: 2000 },
      ],
      TOTAL,
    );
    expect(fitted?.workingSetPages).toBe(TOTAL);
    expect(pagesWithin(fitted ?? stillCurve, 1)).toBeCloseTo(2000, 0);
  });

  test('with the same in both are a working set that is written whole', () => {
    const fitted = fitDirtyCurve(
      [
        { ms: 1000, pages: 300 },
        { ms: 250, pages: 300 },
      ],
      TOTAL,
    );
    expect(fitted?.workingSetPages).toBeCloseTo(300, 0);
    expect(pagesWithin(fitted ?? stillCurve, 0.25)).toBeGreaterThan(290);
  });

  test('are never more than RAM, and may have nothing', () => {
    const all = fitDirtyCurve(
      [
        { ms: 250, pages: TOTAL },
        { ms: 1000, pages: TOTAL },
      ],
      TOTAL,
    );
    expect(all?.workingSetPages).toBe(TOTAL);
    expect(Number.isFinite(all?.writesPerSecond)).toBe(true);
    expect(
      fitDirtyCurve(
        [
          { ms: 250, pages: 0 },
          { ms: 1000, pages: 0 },
        ],
        TOTAL,
      ),
    ).toEqual(stillCurve);
    // Nothing in the short one.
    expect(
      pagesWithin(
        fitDirtyCurve(
          [
            { ms: 250, pages: 0 },
            { ms: 1000, pages: 8 },
          ],
          TOTAL,
        ) ?? stillCurve,
        1,
      ),
    ).toBeCloseTo(8);
  });
});

test('one window alone, or two of a length, are those of a migration that makes no headway', () => {
  const fitted =
    fitDirtyCurve(
      [
        { ms: 0, pages: 0 },
        { ms: 500, pages: 950 },
      ],
      TOTAL,
    ) ?? stillCurve;
  expect(pagesWithin(fitted, 0.5)).toBeCloseTo(950, 5);
  expect(fitted.workingSetPages).toBeLessThan(1010);
  expect(
    fitDirtyCurve(
      [
        { ms: 500, pages: 950 },
        { ms: 450, pages: 900 },
      ],
      TOTAL,
    ),
  ).toEqual(fitted);
  expect(fitDirtyCurve([{ ms: 0, pages: 0 }], TOTAL)).toBeUndefined();
});
