/** Memory of a process besides its guest's. */

import { expect, test } from 'vitest';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { residentMappings, residentMemory } from '../../bench/resident-memory.ts';

const MIB = 1024 * 1024;

test('the mappings of smaps, each with what of it is in memory', () => {
  const smaps = [
    '7f0000000000-7f0000400000 rw-p 00000000 00:00 0',
    'Size:               4096 kB',
    'Rss:                 128 kB',
    'VmFlags: rd wr',
    '7f0000400000-7f0000401000 r-xp 00000000 08:01 12   /usr/lib/libc.so.6',
    'Rss:                   4 kB',
  ].join('\n');
  expect(residentMappings(smaps)).toEqual([
    { start: 0x7f0000000000, bytes: 128 * 1024 },
    { start: 0x7f0000400000, bytes: 4096 },
  ]);
});

test('what the blocks hold is left out', () => {
  const block = RAMBlock.create({ idstr: 'ram', size: 256 * MIB });
  try {
    block.bytes().fill(1);
    const with256 = residentMemory([]).nowBytes;
    const { nowBytes, peakBytes } = residentMemory([block.descriptor]);
    expect(nowBytes).toBeGreaterThan(0);
    expect(peakBytes).toBeGreaterThanOrEqual(nowBytes);
    expect(with256 - nowBytes).toBeGreaterThan(200 * MIB);
  } finally {
    block.close();
  }
});
