/** What a programme works on: shares of memory, the part of each vCPU, and the pace. */
import { describe, expect, test } from 'vitest';
import { isProgramWithin, programMemory, vcpuRanges, vcpuTasks } from '#lib/guest/kvm/program.js';

const MIB = 2 ** 20;

test('shares are of the memory above the first MiB', () => {
  expect(programMemory(5 * MIB, 2, {})).toEqual({ filledEnd: MIB + 3.5 * MIB, workEnd: MIB + MIB });
  expect(programMemory(5 * MIB, 2, { filledShare: 0.5, workingSetShare: 1 })).toEqual({
    filledEnd: 3 * MIB,
    workEnd: 3 * MIB,
  });
});

test('each vCPU has a page, however little is asked for, or it is refused', () => {
  expect(programMemory(MIB + 4 * 4096, 4, { workingSetShare: 0 }).workEnd).toBe(MIB + 4 * 4096);
  expect(() => programMemory(MIB + 3 * 4096, 4, {})).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

test.each([
  [1, 1],
  [7, 3],
  [1000, 16],
])('%i pages are shared out over %i vCPUs, each once', (pages, vcpus) => {
  const ranges = vcpuRanges(MIB + pages * 4096, vcpus);
  expect(ranges).toHaveLength(vcpus);
  expect(ranges[0].first).toBe(MIB);
  for (const [index, { first, end }] of ranges.entries()) {
    expect(end).toBe(ranges[index + 1]?.first ?? MIB + pages * 4096);
    const own = (end - first) / 4096;
    expect([Math.floor(pages / vcpus), Math.ceil(pages / vcpus)]).toContain(own);
  }
});

test('the pace is in cycles of the TSC, over all vCPUs', () => {
  const interval = (writesPerSecond?: number) =>
    vcpuTasks(2 * MIB, 2, 2_000_000, writesPerSecond === undefined ? {} : { writesPerSecond })[1].interval;
  expect(interval(1000)).toBe(4_000_000);
  expect(interval()).toBe(200_000);
  expect(interval(0)).toBe(0);
  expect(interval(1)).toBe(2 ** 27 - 1);
  expect(vcpuTasks(2 * MIB, 1, 1000, { reportPasses: 3 })[0].report).toBe(3);
});

describe('a state of a peer', () => {
  const good = { kind: 'writer', filledEnd: 3 * MIB, workEnd: 2 * MIB, done: [0] } as const;

  test.each([
    [good, true],
    [{ ...good, filledEnd: 5 * MIB }, false],
    [{ ...good, workEnd: MIB }, false],
    [{ ...good, workEnd: 4 * MIB }, false],
    [{ ...good, workEnd: 2 * MIB + 1 }, false],
    [{ ...good, filledEnd: 3 * MIB + 1 }, false],
    [{ ...good, kind: 'image' } as const, false],
    [{ kind: 'image', filledEnd: 0, workEnd: 0, done: [0] } as const, true],
  ])('%j speaks of memory that there is: %s', (program, within) => {
    expect(isProgramWithin(program, 4 * MIB, 1)).toBe(within);
  });
});
