/** A return path summed up: runs folded, requests by block, lists that don't grow. Recordings: inspect.test.ts. */
import { expect, test } from 'vitest';
import { ReturnPathSummary } from '#lib/inspect/return-path-summary.js';

test('folds runs of requests and of pongs that count up', () => {
  const summary = new ReturnPathSummary();
  summary.take({ type: 'PONG', value: 1 }, 0);
  summary.take({ type: 'PONG', value: 2 }, 8);
  summary.take({ type: 'PONG', value: 9 }, 16);
  summary.take({ type: 'REQ_PAGES', start: 0, length: 4096, idstr: 'pc.ram' }, 24);
  summary.take({ type: 'REQ_PAGES', start: 8192, length: 8192 }, 50);
  summary.take({ type: 'SHUT', value: 0 }, 66);
  expect(summary.parts()).toEqual({
    uses: [
      { capability: 'return-path', offset: 0 },
      { capability: 'postcopy-ram', offset: 24 },
    ],
    messages: [
      { message: 'PONG', offset: 0, count: 2, value: 1, lastValue: 2 },
      { message: 'PONG', offset: 16, count: 1, value: 9 },
      { message: 'REQ_PAGES', offset: 24, count: 2, bytes: 12_288, named: 1 },
      { message: 'SHUT', offset: 66, count: 1, value: 0 },
    ],
    requests: [{ idstr: 'pc.ram', requests: 2, bytes: 12_288 }],
    counts: { PONG: 3, REQ_PAGES_ID: 1, REQ_PAGES: 1, SHUT: 1 },
    omitted: { messages: 0 },
  });
});

test('a request before any block was named is counted as such', () => {
  const summary = new ReturnPathSummary();
  summary.take({ type: 'REQ_PAGES', start: 0, length: 4096 }, 0);
  expect(summary.parts().requests).toEqual([{ idstr: '(none named)', requests: 1, bytes: 4096 }]);
});

test('stays small: messages beyond the list and names beyond the table are only counted', () => {
  const summary = new ReturnPathSummary();
  for (let i = 0; i < 12_000; i++) {
    summary.take({ type: 'PONG', value: 7 }, i);
    summary.take({ type: 'REQ_PAGES', start: 0, length: 1, idstr: `block${i}` }, i);
  }
  const { messages, omitted, requests } = summary.parts();
  expect([messages.length, omitted.messages]).toEqual([10_000, 14_000]);
  expect(requests.length).toBe(1025);
  expect(requests.at(-1)).toEqual({ idstr: '(others)', requests: 12_000 - 1024, bytes: 12_000 - 1024 });
});
