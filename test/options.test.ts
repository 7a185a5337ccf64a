/** Capabilities and parameters: defaults, and what is refused by name. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Capabilities,
  defaultCapabilities,
  defaultParameters,
  type Parameters,
  resolveCapabilities,
  resolveGuestTimeout,
  resolveLanes,
  resolveParameters,
} from '#lib/options.js';

test('nothing given is the defaults', () => {
  expect(resolveCapabilities()).toEqual(defaultCapabilities);
  expect(resolveParameters()).toEqual(defaultParameters);
  // QEMU 7.2's: shared by all who know it.
  expect(defaultCapabilities).toEqual({
    postcopyRam: false,
    returnPath: false,
    autoConverge: false,
    postcopyBlocktime: false,
    postcopyPreempt: false,
  });
  expect(defaultParameters).toEqual({
    maxBandwidth: 134_217_728,
    maxPostcopyBandwidth: 0,
    downtimeLimit: 300,
    throttleTriggerThreshold: 50,
    cpuThrottleInitial: 20,
    cpuThrottleIncrement: 10,
    maxCpuThrottle: 99,
  });
});

test('what is given goes over the defaults, which stay as they are', () => {
  expect(resolveCapabilities({ postcopyRam: true })).toEqual({ ...defaultCapabilities, postcopyRam: true });
  expect(resolveParameters({ downtimeLimit: 5 })).toEqual({ ...defaultParameters, downtimeLimit: 5 });
  expect(defaultParameters.downtimeLimit).toBe(300);
  expect(defaultCapabilities.postcopyRam).toBe(false);
});

const names = Object.keys(defaultParameters) as (keyof Parameters)[];
/** What each may be while the others have their defaults; docs of lib/options.ts. */
const ranges: Record<keyof Parameters, [number, number]> = {
  maxBandwidth: [0, Number.MAX_SAFE_INTEGER],
  maxPostcopyBandwidth: [0, Number.MAX_SAFE_INTEGER],
  downtimeLimit: [0, 2_000_000],
  throttleTriggerThreshold: [1, 100],
  cpuThrottleInitial: [1, 99],
  cpuThrottleIncrement: [1, 99],
  maxCpuThrottle: [20, 99],
};

test('exactly whole numbers of the range are taken (property)', () => {
  const value = fc.oneof(
    fc.maxSafeInteger(),
    fc.integer({ min: -3, max: 120 }),
    fc.integer({ min: -3, max: 3_000_000 }),
    fc.double(),
  );
  fc.assert(
    fc.property(fc.constantFrom(...names), value, (name, given) => {
      const isGood = Number.isSafeInteger(given) && given >= ranges[name][0] && given <= ranges[name][1];
      if (isGood) expect(resolveParameters({ [name]: given })[name]).toBe(given);
      else {
        expect(() => resolveParameters({ [name]: given })).toThrow(
          expect.objectContaining({ code: 'BAD_ARGUMENT', message: expect.stringContaining(name) }),
        );
      }
    }),
  );
});

describe.each(names)('%s', (name) => {
  const [least, most] = ranges[name];
  test.each([least, most])('may be %s', (value) => {
    expect(resolveParameters({ [name]: value })[name]).toBe(value);
  });

  const outside = [least - 1, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, most + 1, '5', null];
  test.each(outside)('may not be %j', (value) => {
    expect(() => resolveParameters({ [name]: value } as Partial<Parameters>)).toThrow(
      expect.objectContaining({ code: 'BAD_ARGUMENT', hint: expect.stringContaining(`${most}`) }),
    );
  });
});

describe('a name that this version does not know is refused, and those it knows are named', () => {
  test.each(['multifd', 'postcopy-ram', 'toString', 'constructor'])('%s', (name) => {
    expect(() => resolveCapabilities({ [name]: true } as Partial<Capabilities>)).toThrow(
      expect.objectContaining({
        code: 'BAD_ARGUMENT',
        message: expect.stringContaining(name),
        hint: expect.stringContaining('postcopyRam'),
      }),
    );
    expect(() => resolveParameters({ [name]: 1 } as Partial<Parameters>)).toThrow(
      expect.objectContaining({
        code: 'BAD_ARGUMENT',
        message: expect.stringContaining(name),
        hint: expect.stringContaining('downtimeLimit'),
      }),
    );
  });
});

test.each(['yes', 1, null])('a capability is true or false, not %j', (value) => {
  expect(() => resolveCapabilities({ postcopyRam: value } as unknown as Partial<Capabilities>)).toThrow(
    expect.objectContaining({ code: 'BAD_ARGUMENT', message: expect.stringContaining('postcopyRam') }),
  );
});

describe('the time that a guest may take', () => {
  test('is ten seconds unless it is said, and 0 is no limit', () => {
    expect([undefined, 0, 1, 2 ** 31 - 1].map((ms) => resolveGuestTimeout(ms))).toEqual([10_000, 0, 1, 2 ** 31 - 1]);
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])('is refused with its range: %d', (ms) => {
    expect(() => resolveGuestTimeout(ms)).toThrow(
      expect.objectContaining({ code: 'BAD_ARGUMENT', message: `guestTimeoutMs is ${ms}` }),
    );
  });
});

test('lanes are none by default, a whole number up to the most, and of a postcopy', () => {
  const postcopy = resolveCapabilities({ postcopyRam: true });
  expect([
    resolveLanes(16, postcopy),
    resolveLanes(16, postcopy, 16),
    resolveLanes(16, defaultCapabilities, 0),
  ]).toEqual([0, 16, 0]);
  for (const lanes of [-1, 0.5, 17, Number.NaN]) {
    expect(() => resolveLanes(16, postcopy, lanes)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
  }
  expect(() => resolveLanes(16, defaultCapabilities, 1)).toThrow('lanes without the capability postcopyRam');
});
