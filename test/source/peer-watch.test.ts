/** The watch for signs of life: when it finds a silence, and when there is none to find. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PeerWatch } from '#lib/source/peer-watch.js';
import { createSourceSignals } from '#lib/source/source-signals.js';

const TIMEOUT_MS = 1000;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function watched(timeoutMs = TIMEOUT_MS) {
  const signals = createSourceSignals();
  signals.set('SIGNS_DUE', 1);
  signals.set('PONG', 1);
  const silences: number[] = [];
  const watch = new PeerWatch(signals, timeoutMs, () => silences.push(Date.now()));
  return { signals, silences, watch };
}

test('a silence is found once, within the time and a quarter', () => {
  const { silences, watch } = watched();
  vi.advanceTimersByTime(TIMEOUT_MS * 0.9);
  expect(silences).toHaveLength(0);
  vi.advanceTimersByTime(TIMEOUT_MS * 0.35);
  expect(silences).toHaveLength(1);
  vi.advanceTimersByTime(TIMEOUT_MS * 5);
  expect(silences).toHaveLength(1);
  watch.close();
});

test('a sign of life ends it, and the next one is another', () => {
  const { signals, silences, watch } = watched();
  for (let i = 0; i < 20; i += 1) {
    vi.advanceTimersByTime(TIMEOUT_MS * 0.7);
    signals.bump('HEARD');
  }
  expect(silences).toHaveLength(0);
  vi.advanceTimersByTime(TIMEOUT_MS * 2);
  signals.bump('HEARD');
  vi.advanceTimersByTime(TIMEOUT_MS * 2);
  expect(silences).toHaveLength(2);
  watch.close();
});

test.each([
  ['before the switch, as nobody pings', { SIGNS_DUE: 0 }],
  ['of one that answers no pings', { PONG: 0 }],
] as const)('none is found %s', (_when, words) => {
  const { signals, silences, watch } = watched();
  for (const [name, value] of Object.entries(words)) signals.set(name as keyof typeof words, value);
  vi.advanceTimersByTime(TIMEOUT_MS * 10);
  expect(silences).toHaveLength(0);
  watch.close();
});

test('0 is never, and a watch that is closed looks no more', () => {
  const never = watched(0);
  const closed = watched();
  closed.watch.close();
  vi.advanceTimersByTime(TIMEOUT_MS * 10);
  expect([never.silences, closed.silences]).toEqual([[], []]);
  never.watch.close();
});
