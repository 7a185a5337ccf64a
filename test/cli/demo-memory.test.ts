/** Whether there are hugepages for two guests, and what to do where there are not. */
import { expect, test } from 'vitest';
import { checkHugepages } from '#lib/cli/demo-memory.js';

const MIB = 2 ** 20;
const pages = (total: number, free: number) => [
  { size: 2 ** 30, total: 100, free: 100 },
  { size: 2 * MIB, total, free },
];

test.each([
  [64 * MIB, 1, 64],
  [64 * MIB + 4096, 1, 66],
  [4096, 1, 2],
  [64 * MIB, 3, 68],
])('%i bytes in %i blocks take %i hugepages', (memory, blocks, needed) => {
  expect(() => checkHugepages(memory, blocks, pages(needed, needed))).not.toThrow();
  expect(() => checkHugepages(memory, blocks, pages(needed, needed - 1))).toThrow(
    expect.objectContaining({
      code: 'GUEST_UNAVAILABLE',
      message: expect.stringContaining(`take ${needed} hugepages`),
    }),
  );
});

test('the hint reserves what is missing beside what is in use', () => {
  expect(() => checkHugepages(64 * MIB, 1, pages(50, 10))).toThrow(
    expect.objectContaining({
      hint: expect.stringContaining('echo 104 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'),
    }),
  );
});

test('a kernel without hugepages has none free', () => {
  expect(() => checkHugepages(64 * MIB, 1, [])).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/0 are free$/) }),
  );
});
