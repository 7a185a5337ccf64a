/** Figures as the page shows them. */
import { expect, test } from 'vitest';
import { bytes, count, ms, percent, us } from '#lib/dashboard/view/format.js';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.50 KiB'],
  [64 * 1024 ** 3, '64 GiB'],
  [1024 ** 5 * 2000, '2000 PiB'],
])('%i bytes: %s', (value, text) => {
  expect(bytes(value)).toBe(text);
});

test.each([
  [0.4, '0 µs'],
  [180.2, '180 µs'],
  [2512, '2.51 ms'],
  [99_999, '100.0 ms'],
  [1_200_000, '1.20 s'],
])('%f µs: %s', (value, text) => {
  expect(us(value)).toBe(text);
});

test('longer times, counts and shares', () => {
  expect([ms(0.25), ms(59_000), ms(185_000)]).toEqual(['250 µs', '59 s', '3 min 5 s']);
  expect([count(1234567), count(0.4)]).toEqual(['1,234,567', '0']);
  expect([percent(1, 3), percent(0, 0), percent(5, 5)]).toEqual(['33.3 %', '0 %', '100 %']);
});
