/** Auto-converge, told of periods: when the guest is slowed down, and how far. */
import { describe, expect, test } from 'vitest';
import { defaultParameters, type Parameters } from '#lib/options.js';
import { AutoConverge } from '#lib/source/auto-converge.js';

const period = (dirtiedBytes: number, transferredBytes: number) => ({
  dirtiedBytes,
  transferredBytes,
  pagesPerSecond: 0,
});
const bad = period(51, 100);
const good = period(50, 100);

/** What it says to each period. */
function run(periods: readonly ReturnType<typeof period>[], parameters: Partial<Parameters> = {}) {
  const autoConverge = new AutoConverge({ ...defaultParameters, ...parameters });
  return periods.map((each) => autoConverge.next(each));
}

describe('the guest is slowed down', () => {
  test('at every second period in which it wrote too much', () => {
    expect(run([bad, bad, bad, bad, bad])).toEqual([undefined, 20, undefined, 30, undefined]);
  });

  test('also if there was a better period between them', () => {
    expect(run([bad, good, good, bad, good, bad, bad])).toEqual([
      undefined,
      undefined,
      undefined,
      20,
      undefined,
      undefined,
      30,
    ]);
  });

  test('not while it writes no more than the threshold', () => {
    expect(run([good, good, good, good])).toEqual([undefined, undefined, undefined, undefined]);
    expect(run([bad, bad], { throttleTriggerThreshold: 51 })).toEqual([undefined, undefined]);
    expect(run([good, good], { throttleTriggerThreshold: 49 })).toEqual([undefined, 20]);
  });

  test('when nothing was sent and anything was written', () => {
    expect(run([period(0, 0), period(1, 0), period(1, 0)])).toEqual([undefined, undefined, 20]);
  });

  test('by the parameters, up to the most, which is said once', () => {
    const parameters = { cpuThrottleInitial: 50, cpuThrottleIncrement: 30, maxCpuThrottle: 90 };
    const said = run(new Array(10).fill(bad), parameters).filter((percent) => percent !== undefined);
    expect(said).toEqual([50, 80, 90]);
  });
});
