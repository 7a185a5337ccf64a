/** RAM made to fit a block list. */
import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { createMachineBlocks } from '#lib/machine/machine-blocks.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

const MIB = 2 ** 20;

test('each block in the order, size and kind of the list', () => {
  const blocks = createMachineBlocks(
    [
      { idstr: 'pc.ram', usedLength: 2 * MIB },
      { idstr: 'pc.bios', usedLength: 4096, pageSize: 4096 },
    ],
    'memfd',
  );
  expect(blocks.map(({ idstr, size, kind }) => [idstr, size, kind])).toEqual([
    ['pc.ram', 2 * MIB, 'memfd'],
    ['pc.bios', 4096, 'memfd'],
  ]);
  for (const block of blocks) block.close();
});

test('more than the host has is refused before anything is mapped', () => {
  const entries = [
    { idstr: 'a', usedLength: 4096 * Math.ceil(totalmem() / 4096) },
    { idstr: 'b', usedLength: 4096 },
  ];
  expect(() => createMachineBlocks(entries)).toThrow(expect.objectContaining({ code: 'GUEST_UNAVAILABLE' }));
});

test('too few huge pages are said with how many there have to be, and nothing stays', () => {
  const leaks = handleLeaks();
  // Two pages of a size that nobody reserves, yet within what the host has; where there are none at all it is EINVAL.
  const entries = [
    { idstr: 'small', usedLength: 4096 },
    { idstr: 'huge', usedLength: 2 * 2 ** 30, pageSize: 2 ** 30 },
  ];
  expect(() => createMachineBlocks(entries)).toThrow(/huge/);
  expect(leaks()).toEqual({});
});
