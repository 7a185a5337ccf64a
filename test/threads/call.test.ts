/** Calls from a real worker to its owner: values, errors, and that an owner always answers. */
import { describe, expect, test } from 'vitest';
import { MigrationError } from '#lib/errors.js';
import { type CallHandlers, serveCalls } from '#lib/threads/call.js';
import { onLibThread } from '../../testing/lib-thread.ts';

interface Outcome {
  readonly values: unknown[];
  readonly error: Record<string, unknown> | undefined;
}

/** A worker that makes the calls one after another, until one throws. */
async function callAll(handlers: CallHandlers, calls: readonly (readonly [string, unknown])[]): Promise<Outcome> {
  const { descriptor, close } = serveCalls(handlers);
  try {
    return await onLibThread(
      'test/caller',
      { call: '#lib/threads/call.js' },
      { descriptor, calls },
      (lib: { call: typeof import('#lib/threads/call.js') }, data): Outcome => {
        const caller = new lib.call.Caller<CallHandlers>(data.descriptor);
        const values: unknown[] = [];
        try {
          for (const [name, argument] of data.calls) values.push(caller.call(name, argument));
          return { values, error: undefined };
        } catch (thrown) {
          const { name, code, message, hint, offset, record } = thrown as MigrationError;
          return { values, error: { name, code, message, hint, offset, record } };
        } finally {
          caller.close();
        }
      },
      [descriptor.port],
    ).result;
  } finally {
    close();
  }
}

test('each call gets its own answer, in order, whether the handler waits or not', async () => {
  const handlers: CallHandlers = {
    double: (value: number) => value * 2,
    late: async (value: number) => {
      await new Promise(setImmediate);
      return { value, bytes: Uint8Array.of(1, 2, 3) };
    },
    nothing: () => undefined,
  };
  const numbers = Array.from({ length: 200 }, (_, i) => ['double', i] as const);
  const { values, error } = await callAll(handlers, [...numbers, ['late', 5], ['nothing', undefined]]);
  expect(error).toBeUndefined();
  expect(values).toEqual([...numbers.map(([, i]) => i * 2), { value: 5, bytes: Uint8Array.of(1, 2, 3) }, undefined]);
});

describe('what a handler throws is thrown in the worker', () => {
  test.each([
    [
      'at once',
      () => {
        throw new MigrationError('GUEST_FAILED', 'no', { hint: 'do', offset: 9, record: 'PING' });
      },
    ],
    [
      'later',
      async () => {
        throw new MigrationError('GUEST_FAILED', 'no', { hint: 'do', offset: 9, record: 'PING' });
      },
    ],
  ])('a MigrationError with all it says, %s', async (_when, stop) => {
    const { error } = await callAll({ stop }, [['stop', undefined]]);
    expect(error).toEqual({
      name: 'MigrationError',
      code: 'GUEST_FAILED',
      message: 'no',
      hint: 'do',
      offset: 9,
      record: 'PING',
    });
  });

  test('any other error, and one that is no Error', async () => {
    const { error } = await callAll({ stop: () => Promise.reject('out of paper') }, [['stop', undefined]]);
    expect(error).toMatchObject({ code: 'INTERNAL', message: 'out of paper' });
  });

  test('a call without a handler', async () => {
    const { error } = await callAll({}, [['missing', undefined]]);
    expect(error).toMatchObject({ code: 'INTERNAL' });
  });

  test('an answer that cannot be sent, such as a function', async () => {
    const { error } = await callAll({ save: () => () => {} }, [['save', undefined]]);
    expect(error).toMatchObject({ message: expect.stringMatching(/could not be cloned/) });
  }, 5000);
});
