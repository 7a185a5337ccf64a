/** System calls of other processes, as the kernel counts them: of each by itself, and of threads that come later. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { SyscallCounter, syscallCounterProblem } from '../../bench/syscall-counter.ts';

/** A system call each. */
const CALLS = 5000;
const inThread = `for (let i = 0; i < ${CALLS}; i += 1) require('node:fs').accessSync('/');`;

const problem = await syscallCounterProblem();

test.skipIf(problem !== undefined)('each process is counted by itself, with threads that came later', async () => {
  const idle = spawn('cat');
  try {
    // It has answered, so that it waits for more from now on.
    idle.stdin.write('\n');
    await once(idle.stdout, 'data');
    await using counter = await SyscallCounter.start(process.pid, idle.pid ?? 0);
    const first = await counter.counts();
    for (let i = 0; i < CALLS; i += 1) accessSync('/');
    const second = await counter.counts();
    await once(new Worker(inThread, { eval: true }), 'exit');
    const third = await counter.counts();
    idle.stdin.write('\n');
    await once(idle.stdout, 'data');
    const fourth = await counter.counts();
    expect(second[0] - first[0]).toBeGreaterThanOrEqual(CALLS);
    expect(second[0] - first[0]).toBeLessThan(2 * CALLS);
    expect(third[0] - second[0]).toBeGreaterThanOrEqual(CALLS);
    // It writes what it has read, and maybe reads again.
    expect(third[1] - first[1]).toBeLessThanOrEqual(1);
    expect(fourth[1] - third[1]).toBeGreaterThanOrEqual(1);
    expect(fourth[1] - first[1]).toBeLessThan(5);
  } finally {
    idle.kill();
  }
});

test.skipIf(problem !== undefined)('a process that is not there is told', async () => {
  await expect(SyscallCounter.start(2 ** 22 + 1)).rejects.toThrow('opendir(task): No such file');
});
