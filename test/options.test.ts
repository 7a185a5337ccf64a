/** Capabilities and parameters: defaults, and what is refused by name. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Capabilities,
  defaultCapabilities,
  defaultParameters,
  type Parameters,
  resolveCapabilities,
  resolveParameters,
} from '#lib/options.js';

test('nothing given is the defaults', () => {
  expect(resolveCapabilities()).toEqual(defaultCapabilities);
  expect(resolveParameters()).toEqual(defaultParameters);
  expect(defaultCapabilities).toEqual({ postcopyRam: false });
  expect(defaultParameters).toEqual({ maxBandwidth: 134_217_728, maxPostcopyBandwidth: 0, downtimeLimit: 300 });
});

test('what is given goes over the defaults, which stay as they are', () => {
  expect(resolveCapabilities({ postcopyRam: true })).toEqual({ postcopyRam: true });
  expect(resolveParameters({ downtimeLimit: 5 })).toEqual({ ...defaultParameters, downtimeLimit: 5 });
  expect(defaultParameters.downtimeLimit).toBe(300);
  expect(defaultCapabilities.postcopyRam).toBe(false);
});

const names = Object.keys(defaultParameters) as (keyof Parameters)[];
const maximum = (name: keyof Parameters): number => (name === 'downtimeLimit' ? 2_000_000 : Number.MAX_SAFE_INTEGER);

test('exactly whole numbers up to the maximum are taken (property)', () => {
  const value = fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -3, max: 3_000_000 }), fc.double());
  fc.assert(
    fc.property(fc.constantFrom(...names), value, (name, given) => {
      const isGood = Number.isSafeInteger(given) && given >= 0 && given <= maximum(name);
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
  test.each([0, 1, maximum(name)])('may be %s', (value) => {
    expect(resolveParameters({ [name]: value })[name]).toBe(value);
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, maximum(name) + 1, '5', null])('may not be %j', (value) => {
    expect(() => resolveParameters({ [name]: value } as Partial<Parameters>)).toThrow(
      expect.objectContaining({ code: 'BAD_ARGUMENT', hint: expect.stringContaining(`${maximum(name)}`) }),
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
