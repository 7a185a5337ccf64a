/** What the addon does to the calling thread. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { onThread } from '../../testing/native-thread.ts';

test('a thread that is raised comes sooner, and no other does', async () => {
  const niceness = onThread('raised', {}, (n) => {
    const { readFileSync: read } = process.getBuiltinModule('node:fs');
    const nice = () => read(`/proc/self/task/${n.threadId()}/stat`, 'utf8').split(') ')[1].split(' ')[16];
    return [0, 7, 0, 19].map((steps) => [n.raiseThread(steps), Number(nice())]);
  });
  expect(await niceness.result).toEqual([
    [true, 0],
    [true, -7],
    [true, 0],
    [true, -19],
  ]);
  expect(readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ')[16]).toBe('0');
});
