/** Rounds of a rehearsal: as many as are to be, until there is work, and nothing left open whatever happens. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { native } from '#lib/native.js';
import { inRounds, rehearsedContext, withKick, withPair } from '#lib/threads/rehearsal.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => expect(leaks()).toEqual({}));

test('each round has a connection, with a kick to wait with', () => {
  const said: number[] = [];
  inRounds(
    3,
    () => false,
    ([here, there], kick) => {
      const bytes = new Uint8Array(1);
      native().socketSend(there, kick, Uint8Array.of(said.length), 0, 1);
      native().socketReceive(here, kick, bytes, 0, 1);
      said.push(bytes[0]);
    },
  );
  expect(said).toEqual([0, 1, 2]);
});

test('where there is work no other begins', () => {
  let rounds = 0;
  inRounds(
    3,
    () => rounds === 2,
    () => {
      rounds += 1;
    },
  );
  expect(rounds).toBe(2);
});

test('what goes wrong in a round is told, and all is closed', () => {
  const fail = () => {
    throw new Error('forgot the words');
  };
  expect(() => inRounds(3, () => false, fail)).toThrow('forgot the words');
  expect(() => withPair(() => withKick(fail))).toThrow('forgot the words');
});

test('the context tells nobody and calls nobody, unless there is an owner', () => {
  withKick((kick) => {
    const alone = rehearsedContext<string, { ask: () => number }>(kick);
    alone.emit('anything');
    alone.raise();
    alone.trace.at('migrate_fd_connect');
    expect(() => alone.owner.call('ask', undefined)).toThrow('this thread calls nobody');
    const owned = rehearsedContext<string, { ask: () => number }>(kick, { call: () => 7 as never });
    expect(owned.owner.call('ask', undefined)).toBe(7);
  });
});
