/** The demo's progress on a stream that is no terminal: a line for each change, and no flood. */
import { Writable } from 'node:stream';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { SideProgress } from '#lib/cli/demo-messages.js';
import { createDemoProgress } from '#lib/cli/demo-progress.js';
import type { LogOptions } from '#lib/cli/log-options.js';
import { destinationDone, sourceDone } from '../../testing/demo-parts.ts';

const source: SideProgress = { ...sourceDone, info: { ...sourceDone.info, status: 'active' }, passes: 0 };
const destination: SideProgress = {
  side: 'destination',
  info: { ...destinationDone.info, status: 'active' },
  guest: undefined,
};

async function collect(isTTY = false, options?: LogOptions) {
  const chunks: string[] = [];
  const stream = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
  Object.assign(stream, { isTTY, columns: 200, rows: 50 });
  const progress = await createDemoProgress(options, stream as NodeJS.WriteStream);
  return { progress, lines: () => chunks.join('').split('\n').slice(0, -1), text: () => chunks.join('') };
}

let nowMs: number;

beforeEach(() => {
  nowMs = 10_000;
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
});

afterEach(() => {
  vi.restoreAllMocks();
});

test('says what begins, and how each side stands', async () => {
  const { progress, lines } = await collect();
  progress.doing('migrating');
  progress.progress(source);
  progress.progress(destination);
  progress.end();
  expect(lines()).toEqual([
    'migrating …',
    expect.stringMatching(/^source +active, pass 1: 78 pages sent .*293 KiB.* to go; guest wrote 1,000 pages$/),
    expect.stringMatching(/^destination +active: 78 pages received .*6 faults, 0 waiting, p50 63 µs.*wrote 0 pages$/),
  ]);
});

test('says a thing again only when a second has passed, or the status is another', async () => {
  const { progress, lines } = await collect();
  progress.progress(source);
  for (nowMs = 10_100; nowMs < 11_000; nowMs += 100) progress.progress(source);
  expect(lines().length).toBe(1);
  nowMs = 11_000;
  progress.progress(source);
  expect(lines().length).toBe(2);
  progress.progress({ ...source, info: { ...source.info, status: 'postcopy-active' } } as SideProgress);
  expect(lines().length).toBe(3);
  expect(lines()[2]).toMatch(/^source +postcopy-active:/);
});

test('counts the recoveries', async () => {
  const { progress, lines } = await collect();
  progress.progress({ ...source, recoveries: { count: 2, pausedMs: 70, longestMs: 40 } } as SideProgress);
  expect(lines()[0]).toMatch(/; recovered 2 times, paused for 70 ms in all$/);
});

test('the sides do not keep each other from saying something', async () => {
  const { progress, lines } = await collect();
  progress.progress(source);
  progress.progress(destination);
  nowMs += 999;
  progress.progress(destination);
  progress.progress(source);
  expect(lines().length).toBe(2);
});

test('a plain stream gets no control characters; a terminal gets lines that are drawn over', async () => {
  const plain = await collect();
  plain.progress.progress(source);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
  expect(plain.text()).not.toMatch(/[\x00-\x09\x0b-\x1f]/);
  const live = await collect(true);
  live.progress.doing('migrating');
  live.progress.progress(source);
  live.progress.progress(destination);
  live.progress.end();
  expect(live.text()).toContain('\x1b[');
  for (const said of ['migrating …', 'source  ', 'destination  ']) expect(live.text()).toContain(said);
});

test('says how much the guest is held back', async () => {
  const { progress, lines } = await collect();
  progress.progress({ ...source, info: { ...source.info, cpuThrottlePercentage: 30 } } as SideProgress);
  expect(lines()[0]).toMatch(/^source +active, pass 1, guest held back 30 %: 78 pages sent/);
});

test('what takes longer than a second says for how long', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  try {
    const { progress, lines } = await collect();
    progress.doing('filling');
    progress.progress(source);
    vi.advanceTimersByTime(1000); // the lines above are a sign of life
    nowMs += 2500;
    vi.advanceTimersByTime(1000);
    progress.end();
    vi.advanceTimersByTime(5000);
    expect(lines()).toEqual(['filling …', expect.stringContaining('source'), 'filling … 3 s']);
  } finally {
    vi.useRealTimers();
  }
});

test('with a level above info nothing but what is as grave', async () => {
  const { progress, lines } = await collect(true, { logLevel: 'warn', logFormat: 'text' });
  progress.doing('filling');
  progress.progress(source);
  progress.event('so it is');
  progress.event('beware', { level: 'warn' });
  expect(lines()).toEqual(['beware']);
});
