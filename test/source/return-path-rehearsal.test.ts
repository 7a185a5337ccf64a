/** The rehearsal of the return path thread: a path with requests that comes to its end, and nothing left of it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { native } from '#lib/native.js';
import { rehearse } from '#lib/source/return-path-rehearsal.js';
import { parkThread } from '#lib/threads/thread.js';
import { ReturnPathDecoder } from '#lib/wire/return-path.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

let leaks: ReturnType<typeof handleLeaks>;
beforeEach(() => {
  leaks = handleLeaks();
});
afterEach(() => {
  expect(leaks()).toEqual({});
});

test('the thread goes through it to its end', async () => {
  const entry = new URL('./return-path-thread.bundle.cjs', import.meta.resolve('#lib/source/source-threads.js'));
  const parked = parkThread({ name: 'test/rehearsal', entry });
  expect(await parked.parked).toBeUndefined();
  await parked.close();
});

test('each page of the block is asked for, behind the pongs, until there is work', () => {
  const asked: number[] = [];
  const types = new Set<string>();
  rehearse(
    () => asked.length > 0,
    ({ channel, blocks }, { kick }) => {
      const bytes = new Uint8Array(4096);
      const length = native().socketReceive(channel.socket, kick, bytes, 0, bytes.length);
      const decoder = new ReturnPathDecoder();
      for (let at = 0; at < length; at += decoder.consumed) {
        const message = decoder.next(bytes, new DataView(bytes.buffer), at, length);
        if (message === undefined) throw new Error('a message is cut');
        types.add(message.type);
        if (message.type === 'REQ_PAGES') asked.push(message.start);
      }
      expect(asked).toEqual(Array.from({ length: blocks[0].size / 4096 }, (_, page) => page * 4096));
    },
  );
  expect([...types]).toEqual(['PONG', 'REQ_PAGES', 'SHUT']);
});

test('what is thrown in it leaves nothing open', () => {
  const fail = () => {
    throw new Error('something is wrong');
  };
  expect(() => rehearse(() => false, fail)).toThrow('something is wrong');
});
