/** The threads of a source that are started ahead: parked with a rehearsal behind them, and gone where not needed. */
import { expect, test } from 'vitest';
import { SourceThreads } from '#lib/source/source-threads.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads } from '../../testing/native-thread.ts';

const names = ['mig/src/main', 'mig/src/rp'];
const counts = () => names.map((name) => countThreads(name));

test('both are there once they are ready, and end when they are closed, more than once', async () => {
  const leaks = handleLeaks();
  const threads = SourceThreads.start();
  await threads.ready();
  expect(counts()).toEqual([1, 1]);
  await threads.close();
  await threads.close();
  expect(counts()).toEqual([0, 0]);
  expect(leaks()).toEqual({});
});

test('closed at once they end as well', async () => {
  const leaks = handleLeaks();
  await SourceThreads.start().close();
  expect(counts()).toEqual([0, 0]);
  expect(leaks()).toEqual({});
});
