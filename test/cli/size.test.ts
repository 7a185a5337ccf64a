/** Sizes and times, read and written. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatMs,
  formatUs,
  parseMs,
  parsePeriod,
  parseRate,
  parseSeconds,
  parseSize,
} from '#lib/cli/size.js';

describe('parseSize reads', () => {
  test.each([
    ['4096', 4096],
    ['1', 1],
    ['64M', 64 * 2 ** 20],
    ['64m', 64 * 2 ** 20],
    ['64 MiB', 64 * 2 ** 20],
    ['64MB', 64 * 2 ** 20],
    ['1G', 2 ** 30],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['  2k ', 2048],
    ['3t', 3 * 2 ** 40],
    ['512b', 512],
    ['0.5k', 512],
  ])('%j', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });
});

describe('parseSize refuses', () => {
  test.each([
    '',
    ' ',
    '0',
    '0M',
    '-1',
    '-1M',
    '1e3',
    '0x10',
    'M',
    '1.M',
    '.5M',
    '1,5G',
    '1P',
    '1 G B',
    'NaN',
    '9999999T',
  ])('%j', (text) => {
    expect(() => parseSize(text)).toThrow(
      expect.objectContaining({ code: 'BAD_ARGUMENT', message: expect.stringContaining(`"${text}"`) }),
    );
  });
});

describe('parseRate reads', () => {
  test.each([
    ['0', 0],
    ['100M', 100 * 2 ** 20],
    ['100M/s', 100 * 2 ** 20],
    ['100MiB/s', 100 * 2 ** 20],
    ['1.5GiB/s', 1.5 * 2 ** 30],
    ['1Gbit', 125e6],
    ['1 Gbit/s', 125e6],
    ['10gbps', 1250e6],
    ['64kbit/s', 8000],
  ])('%j', (text, bytes) => {
    expect(parseRate(text)).toBe(bytes);
  });

  test.each(['', '0/s', '0bit', '1/s/s', '4bit', '1Gb/m', 'fast', '-1M'])('and refuses %j', (text) => {
    expect(() => parseRate(text)).toThrow(
      expect.objectContaining({ code: 'BAD_ARGUMENT', message: `"${text}" is no rate` }),
    );
  });
});

describe('parseMs reads', () => {
  test.each([
    ['0', 0],
    ['300', 300],
    ['300ms', 300],
    ['1.5s', 1500],
    [' 2 S ', 2000],
    ['2min', 120_000],
    ['1.5h', 5_400_000],
  ])('%j', (text, ms) => {
    expect(parseMs(text)).toBe(ms);
  });

  test.each(['', 'ms', '-1', '1m', '1e3', '9999999999999999999s'])('and refuses %j', (text) => {
    expect(() => parseMs(text)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
  });
});

test('parseSeconds reads a bare number as seconds', () => {
  expect(['60', '90s', '5min', '250ms', '0'].map(parseSeconds)).toEqual([60, 90, 300, 0.25, 0]);
  expect(() => parseSeconds('5m')).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

test.each([
  [0, '0 s'],
  [1, '1 s'],
  [59_000, '59 s'],
  [59_001, '1 min 00 s'],
  [125_000, '2 min 05 s'],
  [3_600_000, '1 h 00 min'],
  [9_960_000, '2 h 46 min'],
])('formatDuration of %i ms: %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

describe('of whatever is typed (property)', () => {
  const parsers = { parseSize, parseRate, parseMs, parseSeconds, parsePeriod };
  const units = ['', 'k', 'M', 'MiB', 'G', 'Gbit', 'M/s', 'MiB/s', 'bps', 'ms', 's', 'min', 'h', 'x', '/s', '%'];
  const typed = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc
      .tuple(fc.double({ min: 0, max: 1e12, noNaN: true }).map(String), fc.constantFrom(...units))
      .map((p) => p.join('')),
  );

  test.each(Object.entries(parsers))(
    '%s makes a safe whole number, or says what is wrong and what to write',
    (_, parse) => {
      fc.assert(
        fc.property(typed, (text) => {
          try {
            const value = parse(text);
            expect(Number.isSafeInteger(Math.round(value))).toBe(true);
            expect(value).toBeGreaterThanOrEqual(0);
          } catch (error) {
            expect(error).toMatchObject({ code: 'BAD_ARGUMENT', hint: expect.stringMatching(/^write it like /) });
            expect((error as Error).message).toContain(`"${text}"`);
          }
        }),
      );
    },
  );
});

test('parsePeriod takes any time but none', () => {
  expect(parsePeriod('50ms')).toBe(50);
  for (const text of ['0', '0.1ms', 'x'])
    expect(() => parsePeriod(text)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

describe('formatBytes', () => {
  test.each([
    [0, '0 B'],
    [1, '1 B'],
    [999, '999 B'],
    [1024, '1.0 KiB'],
    [1023.6, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [9.96 * 1024, '10 KiB'],
    [1023 * 1024, '1023 KiB'],
    [1023.9 * 1024, '1.0 MiB'],
    [2 ** 20 - 1, '1.0 MiB'],
    [2 ** 40 - 1, '1.0 TiB'],
    [10 * 1024, '10 KiB'],
    [2 ** 20, '1.0 MiB'],
    [256 * 2 ** 20, '256 MiB'],
    [1.5 * 2 ** 30, '1.5 GiB'],
    [3 * 2 ** 40, '3.0 TiB'],
    [5000 * 2 ** 40, '5000 TiB'],
  ])('%s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test('what is written is read back, as exactly as it was written (property)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 49 }), (bytes) => {
        const text = formatBytes(bytes);
        expect(Math.abs(parseSize(text) - bytes)).toBeLessThanOrEqual(bytes * 0.051);
      }),
    );
  });

  test('is at least 1, and below 1024 in any unit but the largest, as shown (property)', () => {
    // Near the powers, where rounding carries into the next unit.
    const nearPower = fc
      .tuple(fc.integer({ min: 0, max: 4 }), fc.double({ min: 0.99, max: 1.01, noNaN: true }))
      .map(([power, factor]) => Math.max(1, 1024 ** power * factor));
    fc.assert(
      fc.property(fc.oneof(nearPower, fc.double({ min: 1, max: 2 ** 49, noNaN: true })), (bytes) => {
        const [, number, unit] = /^([\d.]+) (B|KiB|MiB|GiB|TiB)$/.exec(formatBytes(bytes)) ?? [];
        expect(Number(number)).toBeGreaterThanOrEqual(1);
        if (unit !== 'TiB') expect(Number(number)).toBeLessThan(1024);
        expect(number).toMatch(unit === 'B' ? /^\d+$/ : /^(\d\.\d|\d{2,})$/);
      }),
    );
  });

  test('a larger number never reads as a smaller one (property)', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1, max: 2 ** 49, noNaN: true }),
        fc.double({ min: 1, max: 1.05, noNaN: true }),
        (bytes, factor) => {
          expect(parseSize(formatBytes(bytes * factor))).toBeGreaterThanOrEqual(parseSize(formatBytes(bytes)));
        },
      ),
    );
  });
});

/** Microseconds of what formatUs and formatMs say. */
function readUs(text: string): number {
  const [, number, unit] = /^(\d+|\d\.\d|\d+\.\d(?= s)) (µs|ms|s)$/.exec(text) ?? [];
  return Number(number) * ({ µs: 1, ms: 1000, s: 1_000_000 }[unit] ?? Number.NaN);
}

// Near the powers, where rounding carries into the next unit.
const someUs = fc.oneof(
  fc
    .tuple(fc.constantFrom(1, 1e3, 1e4, 1e6), fc.double({ min: 0.99, max: 1.01, noNaN: true }))
    .map(([power, factor]) => power * factor),
  fc.double({ min: 1, max: 1e9, noNaN: true }),
);

test.each([
  ['formatUs', formatUs, 1],
  ['formatMs', (us: number) => formatMs(us / 1000), 1000],
])('%s shows the time, below 1000 in any unit but seconds (property)', (_name, format, leastUs) => {
  fc.assert(
    fc.property(someUs, (us) => {
      const text = format(us);
      if (!text.endsWith(' s')) expect(Number.parseFloat(text)).toBeLessThan(1000);
      if (us >= leastUs) expect(Math.abs(readUs(text) - us)).toBeLessThanOrEqual(Math.max(0.5, us * 0.051));
    }),
  );
});

test.each([
  [0, '0 µs'],
  [63.4, '63 µs'],
  [999, '999 µs'],
  [999.4, '999 µs'],
  [999.95, '1.0 ms'],
  [1000, '1.0 ms'],
  [9960, '10 ms'],
  [12_345, '12 ms'],
  [999_950, '1.0 s'],
  [2_345_000, '2.3 s'],
])('formatUs %s', (us, text) => {
  expect(formatUs(us)).toBe(text);
});

test.each([
  [0, '0.0 ms'],
  [2.46, '2.5 ms'],
  [37.4, '37 ms'],
  [9.96, '10 ms'],
  [999.4, '999 ms'],
  [999.95, '1.0 s'],
  [1000, '1.0 s'],
  [61_230, '61.2 s'],
])('formatMs %s', (ms, text) => {
  expect(formatMs(ms)).toBe(text);
});

test('formatCount groups digits', () => {
  expect([0, 999, 1000, 1234567.4].map(formatCount)).toEqual(['0', '999', '1,000', '1,234,567']);
});
