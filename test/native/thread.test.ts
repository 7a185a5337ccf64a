/** What the addon does to the calling thread. */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { expect, test } from 'vitest';
import { onThread } from '../../testing/native-thread.ts';

/** In nanoseconds; undefined where the kernel does not say. */
const sliceOf = (sched: string) => /se\.slice +: +(\d+)/.exec(sched)?.[1];
/** From Linux 6.12 on a thread has slices of its own. */
const hasSlices = release().localeCompare('6.12', undefined, { numeric: true }) >= 0;

test('a thread that is raised has short slices, where the kernel has any', async () => {
  const raised = onThread('raised', {}, (n) => {
    const { readFileSync: read } = process.getBuiltinModule('node:fs');
    const sched = () => read(`/proc/self/task/${n.threadId()}/sched`, 'utf8');
    return [0, 19, 0].map((steps) => [n.raiseThread(steps), sched()][1] as string);
  });
  const [before, during, after] = (await raised.result).map(sliceOf);
  expect(during).toBe(hasSlices ? '100000' : before);
  expect(after).toBe(before);
});

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
