/** Threads from start to end: outcomes, kicks, events and calls, and that nothing of them is left. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { native } from '#lib/native.js';
import { parkThread, startThread, type Thread, type ThreadOptions } from '#lib/threads/thread.js';
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

describe('a thread that is started ahead', () => {
  const park = (rehearsed = {}) => parkThread<Data, unknown, unknown>({ name: NAME, entry }, rehearsed);

  test('parks until there is work, and does that: data, calls, events', async () => {
    const leaks = handleLeaks();
    const parked = park({ rehearse: () => {} });
    expect(await parked.parked).toBeUndefined();
    expect(countThreads(NAME)).toBe(1);
    const heard: unknown[] = [];
    const thread = parked.begin({
      data: { body: 'call', argument: 21 },
      calls: { double: (value: number) => value * 2 },
      onEvent: (event) => heard.push(event),
    });
    await thread.ready;
    expect(await thread.ended).toEqual({ kind: 'returned', result: 42 });
    await parked.close(); // more than late enough
    expect(heard).toEqual([]);
    expect(leaks()).toEqual({});
  });

  test('has work before it is up, and does not rehearse then', async () => {
    const rehearsals: unknown[] = [];
    const parked = park({ rehearse: (how: unknown) => rehearsals.push(how) });
    const heard: unknown[] = [];
    const thread = parked.begin({ data: { body: 'emit', events: [1, 2] }, onEvent: (event) => heard.push(event) });
    expect(await thread.ended).toEqual({ kind: 'returned', result: undefined });
    expect(heard).toEqual([1, 2]);
    expect(rehearsals).toEqual([]); // begun in the turn in which it was parked
  });

  test('rehearses, with the answers that are for that; and works also where it went wrong', async () => {
    const rehearsals: unknown[] = [];
    const well = park({ rehearse: (how: unknown) => void rehearsals.push(how) });
    expect(await well.parked).toBeUndefined();
    expect(rehearsals).toEqual(['as it will be']);
    await well.close();
    const badly = park({ rehearse: () => Promise.reject(new Error('a bad rehearsal')) });
    expect(await badly.parked).toMatchObject({ message: 'a bad rehearsal' });
    expect(await badly.begin({ data: { body: 'return', value: 1 } }).ended).toEqual({ kind: 'returned', result: 1 });
  });

  test('is answered by those of the rehearsal to its end, also where it is given its work meanwhile', async () => {
    const answered: string[] = [];
    const parked = park({
      rehearse: () => {
        thread = parked.begin({
          data: { body: 'call', argument: 4 },
          calls: { rehearse: () => answered.push('the work'), double: (value: number) => value * 2 },
        });
        answered.push('the rehearsal');
      },
    });
    let thread: Thread<unknown> | undefined;
    await parked.parked;
    expect(await thread?.ended).toEqual({ kind: 'returned', result: 8 });
    expect(answered).toEqual(['the rehearsal']);
  });

  test('ends without work where it is closed, however often, before or after it is up', async () => {
    const leaks = handleLeaks();
    const early = park();
    await Promise.all([early.close(), early.close()]);
    const late = park();
    await late.parked;
    await late.close();
    expect(countThreads(NAME)).toBe(0);
    expect(leaks()).toEqual({});
  });

  test('is still parked after work that cannot be sent', async () => {
    const parked = park();
    expect(() => parked.begin({ data: { body: 'return', value: () => {} } })).toThrow(/could not be cloned/);
    expect(await parked.begin({ data: { body: 'return', value: 7 } }).ended).toEqual({ kind: 'returned', result: 7 });
  });

  test('that cannot be loaded counts as parked, and tells when it is to work', async () => {
    const parked = parkThread({ name: NAME, entry: new URL('./no-such-module.mjs', import.meta.url) });
    await parked.parked;
    expect(await parked.begin({ data: {} }).ended).toMatchObject({
      kind: 'failed',
      error: { message: expect.stringMatching(/Cannot find/) },
    });
    await parked.close();
  });

  test('does not keep the process alive', async () => {
    const script = `
      import { parkThread } from ${JSON.stringify(import.meta.resolve('#lib/threads/thread.js'))};
      await parkThread({ name: 'test/parked', entry: new URL(${JSON.stringify(entry.href)}) }).parked;
      console.log('parked');`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
    expect(stdout).toBe('parked\n');
  });
});
