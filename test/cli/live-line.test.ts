/** A line of numbers, and events between. On no terminal; what a relay makes of it is in relay-progress.test.ts. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLiveLine, PlainPace } from '#lib/cli/live-line.js';
import type { LogOptions } from '#lib/cli/log-options.js';

let written: string[];
beforeEach(() => {
  vi.useFakeTimers();
  written = [];
});
afterEach(() => {
  vi.useRealTimers();
});

const line = (terminal = {}, options?: LogOptions) =>
  createLiveLine(options, {
    isTTY: false,
    write: (text: string) => written.push(text),
    ...terminal,
  } as unknown as NodeJS.WriteStream);

test('is said once a second while its mark changes, whatever its text', async () => {
  const { follow, end } = await line();
  let looks = 0;
  let mark = 0;
  follow(() => ({ text: `look ${++looks}`, mark: String(mark++) }));
  vi.advanceTimersByTime(3000);
  expect(written).toEqual(['look 2\n', 'look 3\n', 'look 4\n']);
  end();
  vi.advanceTimersByTime(3000);
  expect(written).toHaveLength(3);
});

test('while nothing changes it is said less and less often, and never not at all', async () => {
  const pace = new PlainPace('same');
  const due = Array.from({ length: 200 }, (_, index) => index + 1).filter(() => pace.isDue('same'));
  expect(due).toEqual([1, 3, 7, 15, 31, 63, 95, 127, 159, 191]);
  expect([pace.isDue('other'), pace.isDue('other'), pace.isDue('other')]).toEqual([true, true, false]);
});

test('with a level above info there are no numbers, and only what is as grave', async () => {
  const { follow, event } = await line({ isTTY: true, columns: 80, rows: 20 }, { logLevel: 'warn', logFormat: 'text' });
  follow(() => ({ text: 'look', mark: String(Math.random()) }));
  event('connected');
  event('lost', { level: 'error' });
  vi.advanceTimersByTime(3000);
  expect(written).toEqual(['lost\n']);
});

test('follows the last thing it was given only', async () => {
  const { follow } = await line();
  let mark = 0;
  follow(() => ({ text: 'first', mark: String(mark) }));
  follow(() => ({ text: 'second', mark: String(mark) }));
  mark = 1;
  vi.advanceTimersByTime(1000);
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
  expect(written.join('')).toContain('look 4');
});
