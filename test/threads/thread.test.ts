/** Threads from start to end: outcomes, kicks, events and calls, and that nothing of them is left. */
import { describe, expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { native } from '#lib/native.js';
import { startThread, type Thread, type ThreadOptions } from '#lib/threads/thread.js';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { countThreads, isPolling, until } from '../../testing/native-thread.ts';

const NAME = 'test/thread';
const entry = new URL('../../testing/thread-entry.mjs', import.meta.url);

type Data = { readonly body: string } & Readonly<Record<string, unknown>>;

function start(data: Data, options: Partial<ThreadOptions<Data, unknown>> = {}): Thread<unknown> {
  return startThread<Data, unknown, unknown>({ name: NAME, entry, data, ...options });
}

describe('how a thread ended is a value', () => {
  test('returned', async () => {
    const leaks = handleLeaks();
    const thread = start({ body: 'return', value: { answer: 42 } });
    await thread.ready;
    expect(await thread.ended).toEqual({ kind: 'returned', result: { answer: 42 } });
    expect(countThreads(NAME)).toBe(0);
    expect(leaks()).toEqual({});
  });

  test('failed, with the whole MigrationError', async () => {
    const outcome = await start({ body: 'failMigration' }).ended;
    expect(outcome.kind).toBe('failed');
    const { error } = outcome as Extract<typeof outcome, { kind: 'failed' }>;
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({
      code: 'STREAM_CORRUPT',
      message: 'bad bytes',
      hint: 'mend it',
      offset: 77,
      record: 'page',
      stack: expect.stringContaining('thread-entry.mjs'),
    });
  });

  test('failed, by a mistake', async () => {
    expect(await start({ body: 'failPlain' }).ended).toMatchObject({
      kind: 'failed',
      error: { code: 'INTERNAL', message: 'a mistake' },
    });
  });

  test('failed, as what it returned cannot be sent', async () => {
    expect(await start({ body: 'returnFunction' }).ended).toMatchObject({
      kind: 'failed',
      error: { message: expect.stringMatching(/could not be cloned/) },
    });
  });

  test('failed, as it ended without a word', async () => {
    expect(await start({ body: 'exit' }).ended).toMatchObject({
      kind: 'failed',
      error: { message: expect.stringContaining(NAME) },
    });
  });

  test('failed, as there is no such module; ready all the same', async () => {
    const leaks = handleLeaks();
    const thread = start({ body: 'return' }, { entry: new URL('./no-such-module.mjs', import.meta.url) });
    await thread.ready;
    expect(await thread.ended).toMatchObject({
      kind: 'failed',
      error: { message: expect.stringMatching(/Cannot find/) },
    });
    expect(leaks()).toEqual({});
  });
});

test('a kick ends a thread that is blocked in a native call', async () => {
  const leaks = handleLeaks();
  const [near, far] = native().socketPair();
  const thread = start({ body: 'receive', socket: near });
  await thread.ready;
  await until('the thread is blocked', () => isPolling(NAME));
  thread.kick();
  expect(await thread.ended).toEqual({ kind: 'kicked' });
  expect(countThreads(NAME)).toBe(0);
  native().socketClose(near);
  native().socketClose(far);
  expect(leaks()).toEqual({});
});

test('a kick that comes before the thread blocks is not lost', async () => {
  const [near, far] = native().socketPair();
  const thread = start({ body: 'receive', socket: near });
  thread.kick();
  expect(await thread.ended).toEqual({ kind: 'kicked' });
  native().socketClose(near);
  native().socketClose(far);
});

test('a kick after the end, and kicks on end, are harmless', async () => {
  const thread = start({ body: 'return', value: 1 });
  await thread.ended;
  thread.kick();
  thread.kick();
  expect(await thread.ended).toEqual({ kind: 'returned', result: 1 });
});

test('all events are heard, in order, before the thread counts as ended', async () => {
  const heard: unknown[] = [];
  const events = Array.from({ length: 50 }, (_, number) => ({ number }));
  const thread = start({ body: 'emit', events }, { onEvent: (event) => heard.push(event) });
  expect(await thread.ended).toEqual({ kind: 'returned', result: undefined });
  expect(heard).toEqual(events);
});

test('calls are answered by the owner', async () => {
  const thread = start({ body: 'call', argument: 21 }, { calls: { double: async (value: number) => value * 2 } });
  expect(await thread.ended).toEqual({ kind: 'returned', result: 42 });
});

test('a thread that cannot be started throws, and leaves nothing open', () => {
  const leaks = handleLeaks();
  expect(() => start({ body: 'return', value: () => {} })).toThrow(/could not be cloned/);
  expect(leaks()).toEqual({});
});
