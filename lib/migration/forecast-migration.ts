/**
 * A forecast of a migration that has not begun: what the running guest writes is logged for a moment, in two windows,
 * and a precopy is gone through with that. Nothing is sent, and the guest runs on.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { MigrationError } from '../errors.js';
import { PageBitmap } from '../memory/bitmap.js';
import type { Guest } from '../memory/guest.js';
import { pageCount } from '../memory/page.js';
import { startWriteLog } from '../memory/write-log.js';
import { defaultParameters } from '../options.js';
import { type DirtyCurve, type DirtyWindow, fitDirtyCurve, stillCurve } from '../source/dirty-curve.js';
import { type Forecast, forecast } from '../source/forecast.js';

export interface ForecastOptions {
  /** Bytes a second that the link carries, or `maxBandwidth` where that is less. */
  readonly bandwidth: number;
  /** Milliseconds of both windows together; 1,000 when absent, at least 50. */
  readonly sampleMs?: number;
  /** Milliseconds; that of `defaultParameters` when absent. */
  readonly downtimeLimit?: number;
}

/** The share of the time that the first, shorter window takes. */
const SHORT_SHARE = 1 / 5;

/**
 * Logs what the running guest writes for `sampleMs`. Costs the calling thread some 3 ms a GiB three times. Rejects
 * with PRECOPY_UNAVAILABLE or the errors of opening a userfaultfd where writes can't be tracked here, BAD_ARGUMENT, or
 * the NativeError EBUSY while the guest migrates.
 */
export async function measureDirtyCurve(guest: Guest, sampleMs = 1000): Promise<DirtyCurve> {
  if (!(sampleMs >= 50)) {
    throw new MigrationError('BAD_ARGUMENT', `sampleMs is ${sampleMs}`, { hint: 'give 50 or more' });
  }
  const blocks = guest.ramBlocks.map(({ descriptor }) => descriptor);
  const counts = blocks.map(({ size }) => pageCount(size));
  const empty = () => counts.map((count) => new PageBitmap(count));
  const log = startWriteLog(blocks, guest.writeLog);
  try {
    // What is absent is found each time, in some kinds of memory: what this finds is not of a window.
    const absent = empty();
    log.sync(absent);
    let startMs = performance.now();
    const windows: DirtyWindow[] = [];
    for (const ms of [sampleMs * SHORT_SHARE, sampleMs * (1 - SHORT_SHARE)]) {
      await delay(ms);
      const written = empty();
      const atMs = performance.now();
      log.sync(written);
      const pages = written.reduce((sum, bitmap, index) => sum + bitmap.countWithout(absent[index]), 0);
      windows.push({ ms: atMs - startMs, pages });
      startMs = performance.now();
    }
    return (
      fitDirtyCurve(
        windows,
        counts.reduce((sum, count) => sum + count, 0),
      ) ?? stillCurve
    );
  } finally {
    log.stop();
  }
}

/** Forecasts a precopy of the whole guest. Rejects as {@link measureDirtyCurve}. */
export async function forecastMigration(guest: Guest, options: ForecastOptions): Promise<Forecast> {
  const { bandwidth, sampleMs, downtimeLimit = defaultParameters.downtimeLimit } = options;
  if (!(bandwidth > 0)) {
    throw new MigrationError('BAD_ARGUMENT', `the bandwidth is ${bandwidth}`, { hint: 'give bytes a second' });
  }
  const total = guest.ramBlocks.reduce((sum, { size }) => sum + size, 0);
  const curve = await measureDirtyCurve(guest, sampleMs);
  return forecast({ curve, bandwidth, downtimeLimit, remaining: total, total });
}
