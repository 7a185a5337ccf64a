/** A forecast in words. */
import { expect, test } from 'vitest';
import { forecastLines, forecastText } from '#lib/cli/forecast-text.js';
import type { Forecast } from '#lib/source/forecast.js';

const ends: Forecast = {
  converges: true,
  seconds: 4.2,
  passes: 3,
  downtimeMs: 210,
  writtenBytesPerSecond: 900 * 2 ** 20,
  dirtyBytesPerSecond: 50 * 2 ** 20,
  workingSetBytes: 2 ** 30,
  bandwidth: 400 * 2 ** 20,
};

const never: Forecast = {
  ...ends,
  converges: false,
  seconds: null,
  passes: null,
  downtimeMs: 4000,
  remedies: { downtimeLimit: 5000, bandwidth: 900 * 2 ** 20, throttlePercent: 78, postcopySeconds: 12 },
};

test('in a line of progress', () => {
  expect(forecastText(ends)).toBe('precopy would end in 4.2 s');
  expect(forecastText(never)).toBe('precopy never ends at this rate: the guest writes 900 MiB/s, 400 MiB/s go through');
});

test('in full', () => {
  expect(forecastLines(ends, 300)).toEqual([
    'the guest writes 900 MiB/s, in a second 50 MiB of different pages, of 1.0 GiB in all; 400 MiB/s go through',
    'precopy would end in 4.2 s, after 3 passes, with a downtime of 210 ms',
  ]);
  expect(forecastLines({ ...ends, passes: 1 }, 300)[1]).toContain('after 1 pass,');
  expect(forecastLines(never, 300).slice(1)).toEqual([
    'precopy never ends: pages for 4.0 s stay dirty, and the downtime limit is 300 ms',
    '  postcopy: everything would be moved in 12.0 s',
    '  --downtime-limit 5000ms would let it end',
    '  --max-bandwidth 900M/s would, on a link that carries it',
    '  --auto-converge would, with the guest held back 78 % of the time',
  ]);
  const { remedies: _, ...helpless } = never;
  expect(forecastLines(helpless, 300).length).toBe(2);
});
