/** CPUID tables: each vCPU's own number in them, and what two differ in. */
import { expect, test } from 'vitest';
import { CPUID_ENTRY_BYTES, cpuidDifferences, cpuidOf } from '#lib/guest/kvm/cpuid.js';

/** Entries of leaf, subleaf, eax, ebx, ecx, edx. */
function table(...entries: readonly (readonly number[])[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * CPUID_ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [index, [leaf, subleaf, ...registers]] of entries.entries()) {
    const words = [leaf, subleaf, 0, ...registers];
    for (const [word, value] of words.entries()) view.setUint32(index * CPUID_ENTRY_BYTES + 4 * word, value, true);
  }
  return bytes;
}

test('each vCPU has its own number, whichever processor was asked', () => {
  const asked = (processor: number) =>
    table(
      [1, 0, 7, (processor << 24) | 0x123456, 8, 9],
      [0xb, 0, 1, 2, 3, processor],
      [0x8000_001e, 0, processor, 0, 0, 0],
    );
  expect(cpuidOf(asked(5), 0)).toEqual(cpuidOf(asked(200), 0));
  expect(cpuidOf(asked(5), 3)).toEqual(asked(3));
  expect(cpuidDifferences(cpuidOf(asked(5), 3), cpuidOf(asked(5), 2))).toHaveLength(3);
});

test('what differs is told by leaf and register', () => {
  const here = table([0, 0, 1, 2, 3, 4], [7, 1, 5, 6, 7, 8]);
  expect(cpuidDifferences(here, here)).toEqual([]);
  expect(cpuidDifferences(table([0, 0, 1, 2, 0xff, 4], [7, 1, 5, 6, 7, 8]), here)).toEqual([
    'CPUID leaf 0x0.0 has ecx 0xff, here 0x3',
  ]);
  expect(cpuidDifferences(table([0, 0, 1, 2, 3, 4], [0xd, 0, 1, 1, 1, 1]), here)).toEqual([
    'CPUID leaf 0xd.0 is not known here',
    'CPUID leaf 0x7.1 is not in it',
  ]);
});
