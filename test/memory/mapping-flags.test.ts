/** Flags of mappings: out of the text, and as the kernel tells of real memory. */
import { describe, expect, test } from 'vitest';
import { webAssembly } from '#lib/guest/wasm/webassembly.js';
import {
  hasLocksIn,
  isPlainIn,
  isPlainMemory,
  mappingFlagsOf,
  readMappingFlags,
  vmFlagsAt,
} from '#lib/memory/mapping-flags.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';

const SMAPS = `7f0000001000-7f0000003000 rw-p 00000000 00:00 0
Size:                  8 kB
VmFlags: rd wr mr mw me ac sd hg
7f0000003000-7f0000004000 rw-s 00000000 00:01 1234                       /memfd:postcopy-ram (deleted)
Size:                  4 kB
VmFlags: rd wr sh mr mw me ms lo
7f0000008000-7f0000009000 r--p 00000000 00:00 0   [vvar]
VmFlags:
`;

describe('in the text', () => {
  const cases: readonly [string, number, string][] = [
    ['a mapping without flags', 0x7f0000008000, ''],
    ['the first byte', 0x7f0000001000, 'rd wr mr mw me ac sd hg'],
    ['the last byte', 0x7f0000002fff, 'rd wr mr mw me ac sd hg'],
    ['the mapping behind it', 0x7f0000003000, 'rd wr sh mr mw me ms lo'],
    ['a hole', 0x7f0000004000, ''],
  ];

  test.each(cases)('%s', (_what, address, flags) => {
    expect(vmFlagsAt(SMAPS, [address]).map((words) => words.join(' '))).toEqual([flags]);
  });

  test('all of them, in whichever order', () => {
    const addresses = cases.map(([, address]) => address);
    expect(vmFlagsAt(SMAPS, addresses).map((words) => words.join(' '))).toEqual(cases.map(([, , flags]) => flags));
  });
});

const MAPS = `7f0000001000-7f0000003000 rw-p 00000000 00:00 0
7f0000003000-7f0000004000 rw-p 00000000 00:00 0
7f0000004000-7f0000005000 ---p 00000000 00:00 0
7f0000006000-7f0000007000 rw-s 00000000 00:01 1234                       /memfd:postcopy-ram (deleted)
7f0000007000-7f0000008000 rw-p 00001000 08:01 77                         /bin/sh
7f0000008000-7f0000009000 rw-p 00000000 00:00 0
`;

describe('plain memory', () => {
  test.each<[string, number, number, boolean]>([
    ['a mapping', 0x7f0000001000, 0x2000, true],
    ['a part of one', 0x7f0000002000, 0x1000, true],
    ['two that are neighbours', 0x7f0000001000, 0x3000, true],
    ['with what may not be touched behind it', 0x7f0000003000, 0x2000, false],
    ['nothing', 0x7f0000005000, 0x1000, false],
    ['shared memory', 0x7f0000006000, 0x1000, false],
    ['a file', 0x7f0000007000, 0x1000, false],
    ['with a hole in it', 0x7f0000003000, 0x6000, false],
    ['the last one', 0x7f0000008000, 0x1000, true],
    ['beyond the last one', 0x7f0000008000, 0x1001, false],
  ])('%s', (_what, address, length, isPlain) => {
    expect(isPlainIn(MAPS, address, length)).toBe(isPlain);
  });

  test('of this process', () => {
    using anonymous = RAMBlock.create({ idstr: 'anonymous', size: 3 * 4096 });
    using shared = RAMBlock.create({ idstr: 'shared', size: 3 * 4096, kind: 'memfd' });
    expect([anonymous, shared].map(({ address, size }) => isPlainMemory(address, size))).toEqual([true, false]);
  });
});

describe('of real memory', () => {
  const { constants: c, ramBlockAdvise, ramBlockLock, ramBlockUnlock } = native();

  test('what was said of it is read back', () => {
    using plain = RAMBlock.create({ idstr: 'plain', size: 3 * 4096, kind: 'memfd' });
    using wanted = RAMBlock.create({ idstr: 'wanted', size: 3 * 4096 });
    using unwanted = RAMBlock.create({ idstr: 'unwanted', size: 3 * 4096, kind: 'memfd' });
    ramBlockAdvise(wanted.handle, c.MADV_DONTFORK, 0, wanted.size);
    ramBlockAdvise(unwanted.handle, c.MADV_NOHUGEPAGE, 0, unwanted.size);
    ramBlockLock(unwanted.handle);
    const neither = { isLocked: false, isKeptFromChildren: false };
    expect(readMappingFlags([plain, wanted, unwanted])).toEqual([
      { hugepages: 'unsaid', ...neither },
      { hugepages: 'wanted', isLocked: false, isKeptFromChildren: true },
      { hugepages: 'unwanted', isLocked: true, isKeptFromChildren: false },
    ]);
    ramBlockUnlock(unwanted.handle);
    ramBlockAdvise(wanted.handle, c.MADV_DOFORK, 0, wanted.size);
    expect(readMappingFlags([wanted, unwanted])).toEqual([
      { hugepages: 'wanted', ...neither },
      { hugepages: 'unwanted', ...neither },
    ]);
  });

  test('of a block that was mapped here it is known without a look, as long as nothing is locked', () => {
    using wanted = RAMBlock.create({ idstr: 'wanted', size: 3 * 4096 });
    using shared = RAMBlock.create({ idstr: 'shared', size: 3 * 4096, kind: 'memfd' });
    const blocks = [wanted.descriptor, shared.descriptor];
    expect(mappingFlagsOf(blocks)).toEqual(readMappingFlags(blocks));
    ramBlockAdvise(shared.handle, c.MADV_NOHUGEPAGE, 0, shared.size); // as nobody does
    expect(mappingFlagsOf(blocks)[1].hugepages).toBe('unsaid');
    ramBlockLock(wanted.handle);
    expect(mappingFlagsOf(blocks)).toEqual(readMappingFlags(blocks));
    expect(mappingFlagsOf(blocks)[0].isLocked).toBe(true);
    ramBlockUnlock(wanted.handle);
  });

  test('of memory that others have mapped it is read', () => {
    using foreign = RAMBlock.adopt('foreign', new webAssembly.Memory({ initial: 1 }));
    using ours = RAMBlock.create({ idstr: 'ours', size: 3 * 4096 });
    ramBlockAdvise(foreign.handle, c.MADV_DONTFORK, 0, foreign.size);
    expect(mappingFlagsOf([foreign.descriptor])[0].isKeptFromChildren).toBe(true);
    expect(mappingFlagsOf([ours.descriptor, foreign.descriptor])).toEqual(readMappingFlags([ours, foreign]));
  });

  test('a process has locks unless its status says that it has none', () => {
    expect(hasLocksIn('VmSize:\t 100 kB\nVmLck:\t       0 kB\nVmPin:\t 4 kB\n')).toBe(false);
    expect(hasLocksIn('VmLck:\t      40 kB\n')).toBe(true);
    expect(hasLocksIn('VmSize:\t 100 kB\n')).toBe(true);
  });
});
