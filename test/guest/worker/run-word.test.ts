/** The word between a vCPU's thread and its owner. */
import { expect, test } from 'vitest';
import { RunWord } from '#lib/guest/worker/run-word.js';
import { onLibThread } from '../../../testing/lib-thread.ts';

test('asks to stop from the beginning, and runs once it is let', () => {
  const owner = new RunWord();
  const thread = new RunWord(owner.buffer);
  expect(thread.stopRequested).toBe(true);
  owner.letRun();
  expect(thread.stopRequested).toBe(false);
  owner.letRun(); // harmless
  expect(thread.stopRequested).toBe(false);
});

test('each request has a number of its own, however often it is asked for', () => {
  const word = new RunWord();
  const first = word.request;
  word.askToStop();
  expect(word.request).toBe(first);
  word.letRun();
  word.askToStop();
  expect(word.stopRequested).toBe(true);
  expect(word.request).not.toBe(first);
});

test('a thread stands still while the request stands, and for none that is over', async () => {
  const owner = new RunWord();
  const over = owner.request as number;
  owner.letRun();
  owner.askToStop();
  const thread = onLibThread(
    'stands-still',
    { word: '#lib/guest/worker/run-word.js' },
    { buffer: owner.buffer, over },
    (lib: { word: { RunWord: typeof RunWord } }, { buffer, over }, aboutToWait) => {
      const word = new lib.word.RunWord(buffer);
      word.standStill(over);
      aboutToWait();
      word.standStill(word.request as number);
      return word.stopRequested;
    },
  );
  await thread.waits();
  owner.letRun();
  expect(await thread.result).toBe(false);
});
