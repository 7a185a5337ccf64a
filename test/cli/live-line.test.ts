/** A line of numbers, and events between. On no terminal; what a relay makes of it is in relay-progress.test.ts. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLiveLine } from '#lib/cli/live-line.js';

let written: string[];
beforeEach(() => {
  vi.useFakeTimers();
  written = [];
});
afterEach(() => {
  vi.useRealTimers();
});

const line = (terminal = {}) =>
  createLiveLine({
    isTTY: false,
    write: (text: string) => written.push(text),
    ...terminal,
  } as unknown as NodeJS.WriteStream);

test('is said once a second while its mark changes, whatever its text', async () => {
  const { follow, end } = await line();
  let mark = 0;
  let looks = 0;
  follow(() => ({ text: `look ${++looks}`, mark: String(mark) }));
  vi.advanceTimersByTime(3000);
  expect(written).toEqual([]);
  mark = 1;
  vi.advanceTimersByTime(3000);
  expect(written).toEqual(['look 5\n']);
  end();
  mark = 2;
  vi.advanceTimersByTime(3000);
  expect(written).toHaveLength(1);
});

test('follows the last thing it was given only', async () => {
  const { follow } = await line();
  let mark = 0;
  follow(() => ({ text: 'first', mark: String(mark) }));
  follow(() => ({ text: 'second', mark: String(mark) }));
  mark = 1;
  vi.advanceTimersByTime(2000);
  expect(written).toEqual(['second\n']);
});

test('an event is said at once; an end twice does no harm', async () => {
  const { event, end } = await line();
  event('connected');
  end();
  end();
  expect(written).toEqual(['connected\n']);
});

test('on a terminal it is drawn over again, four times a second, also where nothing changes', async () => {
  const { follow, end } = await line({ isTTY: true, columns: 80, rows: 20 });
  let looks = 0;
  follow(() => ({ text: `look ${++looks}`, mark: '' }));
  vi.advanceTimersByTime(1000);
  end();
  expect(written.join('')).toContain('look 5');
});
