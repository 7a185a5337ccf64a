/** A forecast of a precopy in words: in a few for a line of progress, and in full. Pure. */
import type { Forecast } from '../source/forecast.js';
import { formatBytes, formatMs } from './size.js';

function time(seconds: number): string {
  return formatMs(seconds * 1000);
}

/** `precopy would end in 4.2 s`, or `precopy never ends at this rate: …`. */
export function forecastText(forecast: Forecast): string {
  const { converges, seconds, writtenBytesPerSecond, bandwidth } = forecast;
  if (converges && seconds !== null) return `precopy would end in ${time(seconds)}`;
  const rates = `the guest writes ${formatBytes(writtenBytesPerSecond)}/s, ${formatBytes(bandwidth)}/s go through`;
  return `precopy never ends at this rate: ${rates}`;
}

/** Every figure, and what would help. */
export function forecastLines(forecast: Forecast, downtimeLimit: number): readonly string[] {
  const { converges, seconds, passes, downtimeMs, bandwidth, remedies } = forecast;
  const { writtenBytesPerSecond, dirtyBytesPerSecond, workingSetBytes } = forecast;
  const writes =
    `the guest writes ${formatBytes(writtenBytesPerSecond)}/s, in a second ${formatBytes(dirtyBytesPerSecond)} of ` +
    `different pages, of ${formatBytes(workingSetBytes)} in all; ${formatBytes(bandwidth)}/s go through`;
  if (converges && seconds !== null) {
    const count = `${passes} ${passes === 1 ? 'pass' : 'passes'}`;
    return [
      writes,
      `precopy would end in ${time(seconds)}, after ${count}, with a downtime of ${formatMs(downtimeMs)}`,
    ];
  }
  const stays =
    `precopy never ends: pages for ${formatMs(downtimeMs)} stay dirty, ` +
    `and the downtime limit is ${formatMs(downtimeLimit)}`;
  if (remedies === undefined) return [writes, stays];
  return [
    writes,
    stays,
    `  postcopy: everything would be moved in ${time(remedies.postcopySeconds)}`,
    `  --downtime-limit ${Math.ceil(remedies.downtimeLimit)}ms would let it end`,
    `  --max-bandwidth ${Math.ceil(remedies.bandwidth / 2 ** 20)}M/s would, on a link that carries it`,
    `  --auto-converge would, with the guest held back ${remedies.throttlePercent} % of the time`,
  ];
}
