/** How far something is, in words; and its rate. */
import { expect, test } from 'vitest';
import { amountText, leftText, RateMeter, waitText } from '#lib/cli/progress-text.js';

const MIB = 2 ** 20;

test.each([
  [MIB, 4 * MIB, MIB, '1.0 MiB of 4.0 MiB (25 %), 1.0 MiB/s, 3 s left'],
  [MIB, 4 * MIB, 0, '1.0 MiB of 4.0 MiB (25 %), 0 B/s'],
  [4 * MIB, 4 * MIB, MIB, '4.0 MiB of 4.0 MiB (100 %), 1.0 MiB/s'],
  [MIB, undefined, MIB, '1.0 MiB, 1.0 MiB/s'],
  [0, 0, 0, '0 B of 0 B, 0 B/s'],
])('%i of %s at %i/s', (done, total, rate, text) => {
  expect(amountText(done, total, rate)).toBe(text);
});

test('what is left, and a wait', () => {
  expect(leftText(125 * MIB, MIB)).toBe(', 2 min 05 s left');
  expect(leftText(0, MIB)).toBe('');
  expect(waitText('waiting for it', 1200)).toBe('waiting for it for 1 s');
});

test('a rate is that of the last seconds', () => {
  let now = 0;
  const meter = new RateMeter(() => now);
  expect(meter.look(0)).toBe(0);
  const rates = [];
  for (let value = 100; value <= 1000; value += 100) {
    now += 1000;
    rates.push(meter.look(value));
  }
  expect(rates).toEqual(Array(10).fill(100));
  for (let times = 0; times < 3; times += 1) {
    now += 1000;
    meter.look(1000);
  }
  now += 1000;
  expect(meter.look(1000)).toBe(0);
});

test('no rate is less than none, nor of no time', () => {
  let now = 0;
  const meter = new RateMeter(() => now);
  meter.look(10);
  expect(meter.look(20)).toBe(0);
  now = 1000;
  expect(meter.look(5)).toBe(0);
});
