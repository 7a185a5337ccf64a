/** Events as spans of a status, and as text. */
import { expect, test } from 'vitest';
import type { SideEvent } from '#lib/dashboard/snapshot.js';
import { eventText, spansOf } from '#lib/dashboard/view/timeline.js';

const at = (atMs: number, kind: SideEvent['kind'], value: SideEvent['value']): SideEvent => ({ atMs, kind, value });

test('each status lasts to the next one, the last until now, and one that is final for no time', () => {
  const events = [at(1, 'status', 'setup'), at(2, 'ping', 1), at(5, 'status', 'active')];
  expect(spansOf(events, 9)).toEqual([
    { status: 'setup', fromMs: 1, untilMs: 5 },
    { status: 'active', fromMs: 5, untilMs: 9 },
  ]);
  const ended = spansOf([...events, at(7, 'status', 'failed')], 9);
  expect(ended.at(-1)).toEqual({ status: 'failed', fromMs: 7, untilMs: 7 });
});

test.each([
  [at(0, 'status', 'active'), 'active'],
  [at(0, 'ping', 2), 'ping: guest stopped'],
  [at(0, 'pong', 0x42), 'pong: switchover'],
  [at(0, 'pong', 0x102), 'pong: discards, round 2'],
  [at(0, 'ping', 0x9999999), 'ping: 0x9999999'],
  [at(0, 'pass', 3), 'pass 3 is done'],
  [at(0, 'throttle', 20), 'guest held back 20 %'],
  [at(0, 'warning', 'a'), 'warning: a'],
  [at(0, 'error', 'b'), 'error: b'],
])('%j: %s', (event, text) => {
  expect(eventText(event)).toBe(text);
});
