/** Blocktime against an oracle that looks at every microsecond. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Blocktime } from '#lib/destination/blocktime.js';

const VCPUS = [101, 102, 103];
const OTHER = 900;

type Step =
  | { readonly kind: 'fault'; readonly thread: number; readonly page: number }
  | { readonly kind: 'placed'; readonly page: number };

/** Each thread's page at the end of each microsecond; steps happen one a microsecond, from 1. */
function oracle(steps: readonly Step[], endUs: number) {
  const waits = new Map<number, number>();
  const totals = new Map<number, number>();
  const open = new Map<number, number>();
  let overall = 0;
  let allSince: number | undefined;
  for (let us = 1; us <= endUs; us += 1) {
    const step = steps[us - 1];
    if (step?.kind === 'placed') {
      for (const [thread, page] of waits) {
        if (page !== step.page) continue;
        waits.delete(thread);
        totals.set(thread, (totals.get(thread) ?? 0) + us - (open.get(thread) ?? us));
      }
    } else if (step?.kind === 'fault') {
      const was = waits.get(step.thread);
      if (was !== step.page) {
        // It can only come to another page if it went on from the one before.
        if (was !== undefined)
          totals.set(step.thread, (totals.get(step.thread) ?? 0) + us - (open.get(step.thread) ?? us));
        const pausesAll = was !== undefined && allSince !== undefined && VCPUS.includes(step.thread);
        if (pausesAll && allSince !== undefined) {
          overall += us - allSince;
          allSince = undefined;
        }
        waits.set(step.thread, step.page);
        open.set(step.thread, us);
      }
    }
    const all = VCPUS.every((thread) => waits.has(thread));
    if (all && allSince === undefined) allSince = us;
    if (!all && allSince !== undefined) {
      overall += us - allSince;
      allSince = undefined;
    }
  }
  return { overall, vcpus: VCPUS.map((thread) => totals.get(thread) ?? 0) };
}

const page = fc.integer({ min: 0, max: 3 });
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('fault' as const), thread: fc.constantFrom(...VCPUS, OTHER), page }),
    fc.record({ kind: fc.constant('placed' as const), page }),
  ),
  { maxLength: 40 },
);

function perform(blocktime: Blocktime, list: readonly Step[], tellAt: number): void {
  for (const [index, step] of list.entries()) {
    if (index === tellAt) blocktime.setVcpus(VCPUS);
    if (step.kind === 'fault') blocktime.begin(step.thread, 0, step.page, index + 1);
    else blocktime.end(0, step.page, index + 1);
  }
  if (tellAt >= list.length) blocktime.setVcpus(VCPUS);
}

test('each vCPU and all of them together are as an observer of every microsecond sees them (property)', () => {
  fc.assert(
    fc.property(steps, (list) => {
      const blocktime = new Blocktime();
      perform(blocktime, list, 0);
      const expected = oracle(list, list.length);
      expect(blocktime.vcpuUs()).toEqual(expected.vcpus);
      expect(blocktime.overallUs).toBe(expected.overall);
    }),
    { numRuns: 500 },
  );
});

test('who the vCPUs are may be told late: each is measured from its first fault (property)', () => {
  fc.assert(
    fc.property(steps, fc.nat(40), (list, tellAt) => {
      const blocktime = new Blocktime();
      perform(blocktime, list, tellAt);
      expect(blocktime.vcpuUs()).toEqual(oracle(list, list.length).vcpus);
    }),
  );
});

test('told while all are blocked: they have been since the last of them was', () => {
  const blocktime = new Blocktime();
  for (const [index, thread] of VCPUS.entries()) blocktime.begin(thread, 0, index, 10 * (index + 1));
  blocktime.setVcpus(VCPUS);
  blocktime.end(0, 1, 50);
  expect(blocktime.overallUs).toBe(20);
  expect(blocktime.vcpuUs()).toEqual([0, 30, 0]);
});

test('a page is a page of its block; two threads share the accounts', () => {
  const faultThread = new Blocktime();
  const listenThread = new Blocktime(faultThread.buffer);
  faultThread.setVcpus([101]);
  faultThread.begin(101, 1, 7, 100);
  listenThread.end(0, 7, 150);
  listenThread.end(1, 8, 160);
  expect(faultThread.overallUs).toBe(0);
  listenThread.end(1, 7, 175);
  expect([faultThread.overallUs, faultThread.vcpuUs()]).toEqual([75, [75]]);
});

test('without vCPUs, or with more threads than there is room for, nothing breaks', () => {
  const blocktime = new Blocktime();
  for (let thread = 1; thread <= 2000; thread += 1) blocktime.begin(thread, 0, thread, thread);
  for (let thread = 1; thread <= 2000; thread += 1) blocktime.end(0, thread, 3000);
  expect(blocktime.overallUs).toBe(0);
  expect(blocktime.vcpuUs()).toEqual([]);
  blocktime.setVcpus([5, 1999]);
  blocktime.begin(5, 0, 1, 4000);
  blocktime.end(0, 1, 4001);
  expect(blocktime.vcpuUs()).toEqual([2996, 0]);
  expect(blocktime.overallUs).toBe(0);
});
