/** Parameters as QMP has them: what is changed, and what is out of range. */
import { expect, test } from 'vitest';
import { defaultParameters } from '#lib/options.js';
import { checkArguments } from '#lib/qmp/arguments.js';
import { changeParameters, someParameters } from '#lib/qmp/parameters.js';

const change = (given: Record<string, unknown>) =>
  changeParameters(defaultParameters, checkArguments(given, someParameters) as Record<string, unknown>);

test('only what is given changes', () => {
  expect(change({})).toEqual(defaultParameters);
  expect(change({ 'max-bandwidth': 0, 'downtime-limit': 2_000_000, 'cpu-throttle-initial': 99 })).toEqual({
    ...defaultParameters,
    maxBandwidth: 0,
    downtimeLimit: 2_000_000,
    cpuThrottleInitial: 99,
  });
});

const range = (name: string, text: string) => `Parameter '${name}' expects an integer in the range of ${text}`;

test.each([
  [{ 'downtime-limit': 2_000_001 }, range('downtime_limit', '0 to (2000 * 1000) ms')],
  [{ 'cpu-throttle-initial': 0 }, range('cpu_throttle_initial', '1 to 99')],
  [{ 'cpu-throttle-initial': 100 }, range('cpu_throttle_initial', '1 to 99')],
  [{ 'cpu-throttle-initial': 256 }, "Parameter 'cpu-throttle-initial' expects uint8_t"],
  [{ 'cpu-throttle-increment': 0 }, range('cpu_throttle_increment', '1 to 99')],
  [{ 'max-cpu-throttle': 10 }, range('max_cpu_throttle', 'cpu_throttle_initial to 99')],
  [{ 'max-cpu-throttle': 100 }, range('max_cpu_throttle', 'cpu_throttle_initial to 99')],
  [{ 'cpu-throttle-initial': 60, 'max-cpu-throttle': 50 }, range('max_cpu_throttle', 'cpu_throttle_initial to 99')],
  [{ 'throttle-trigger-threshold': 101 }, range('throttle_trigger_threshold', '1 to 100')],
  [{ 'max-bandwidth': 2 ** 63 }, range('max_bandwidth', `0 to ${Number.MAX_SAFE_INTEGER}`)],
  [{ 'max-bandwidth': 1.5 }, "Parameter 'max-bandwidth' expects uint64"],
  [{ 'multifd-channels': 2 }, "Parameter 'multifd-channels' is unexpected"],
])('%j is refused', (given, what) => {
  expect(() => change(given)).toThrow(what);
});
