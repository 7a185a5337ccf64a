/** RAM blocks over real mappings: making, sharing with a thread, closing, and what is refused. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { WASM_PAGE_SIZE, webAssembly } from '#lib/guest/wasm/webassembly.js';
import { type AdoptableMemory, type MemoryKind, RAMBlock, type RAMBlockOptions } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';
import { handleLeaks, onLibThread } from '../../testing/lib-thread.ts';

const HOST_PAGE = native().constants.HOST_PAGE_SIZE;

/** Whether a mapping of this process covers the address. */
function isMapped(address: number): boolean {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .map((line) => /^([0-9a-f]+)-([0-9a-f]+) /.exec(line))
    .some(
      (range) => range !== null && address >= Number.parseInt(range[1], 16) && address < Number.parseInt(range[2], 16),
    );
}

const MAPPED = { size: 3 * HOST_PAGE, pageSize: HOST_PAGE };

describe.each<[MemoryKind, boolean]>([
  ['anonymous', false],
  ['memfd', true],
])('%s memory', (kind, hasFd) => {
  test('is discarded for a balloon unless that is inhibited', () => {
    using block = RAMBlock.create({ idstr: 'pc.ram', size: 3 * HOST_PAGE, kind });
    const { ramBlockInhibitDiscard } = native();
    const bytes = block.bytes();
    bytes.fill(7);
    expect(block.discard(HOST_PAGE, HOST_PAGE)).toBe(true);
    expect([bytes[HOST_PAGE - 1], bytes[HOST_PAGE], bytes[2 * HOST_PAGE]]).toEqual([7, 0, 7]);
    ramBlockInhibitDiscard(block.handle, 1);
    ramBlockInhibitDiscard(block.handle, 1);
    ramBlockInhibitDiscard(block.handle, 0);
    expect(block.discard(0, HOST_PAGE)).toBe(false);
    expect(bytes[0]).toBe(7);
    // What the engine itself discards is not affected.
    native().ramBlockDiscard(block.handle, Float64Array.of(2 * HOST_PAGE, HOST_PAGE), 1);
    expect(bytes[2 * HOST_PAGE]).toBe(0);
    ramBlockInhibitDiscard(block.handle, 0);
    expect(block.discard(0, HOST_PAGE)).toBe(true);
    expect(bytes[0]).toBe(0);
    expect(() => ramBlockInhibitDiscard(block.handle, 0)).toThrow(/^inhibit must/);
    expect(() => block.discard(1, HOST_PAGE)).toThrow(RangeError);
    expect(() => block.discard(0, 4 * HOST_PAGE)).toThrow(RangeError);
  });

  test('is mapped, zero, whole pages, and as native code sees it', () => {
    using block = RAMBlock.create({ idstr: 'pc.ram', size: 2 * HOST_PAGE + 1, kind });
    expect(block.descriptor).toMatchObject({ idstr: 'pc.ram', kind, ...MAPPED });
    const info = native().ramBlockInfo(block.handle);
    expect(info).toMatchObject({ address: block.address, ...MAPPED });
    expect(info.fd >= 0).toBe(hasFd);
    expect(block.bytes().length).toBe(block.size);
    expect(block.bytes().every((byte) => byte === 0)).toBe(true);
  });

  test('is the same memory to a thread that attaches by the descriptor', async () => {
    using block = RAMBlock.create({ idstr: 'ram', size: HOST_PAGE, kind });
    block.bytes()[7] = 42;
    const seen = await onLibThread(
      'test/attach',
      { ram: '#lib/memory/ram-block.js' },
      block.descriptor,
      (lib: { ram: typeof import('#lib/memory/ram-block.js') }, descriptor) => {
        const bytes = lib.ram.RAMBlock.attach(descriptor).bytes();
        bytes[8] = 43;
        return bytes[7];
      },
    ).result;
    expect(seen).toBe(42);
    expect(block.bytes()[8]).toBe(43);
  });

  test('is given back when it is closed', () => {
    const leaks = handleLeaks();
    const block = RAMBlock.create({ idstr: 'ram', size: HOST_PAGE, kind });
    native().ramBlockWrite(block.handle, 0, Uint8Array.of(1)); // without a view, which would keep it
    expect(isMapped(block.address)).toBe(true);
    block.close();
    expect(isMapped(block.address)).toBe(false);
    expect(leaks()).toEqual({});
    expect(() => native().ramBlockInfo(block.handle)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });
});

test('hugetlb memory has 2 MiB pages where they are reserved, and is ENOMEM where they are not', () => {
  const free = Number(readFileSync('/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages', 'utf8'));
  const create = () => RAMBlock.create({ idstr: 'ram', size: 1, kind: 'hugetlb' });
  if (free === 0) {
    expect(create).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
    return;
  }
  using block = create();
  expect(block.descriptor).toMatchObject({ size: 2 ** 21, pageSize: 2 ** 21 });
});

describe('a bad option is BAD_ARGUMENT, names what is wrong, and maps nothing', () => {
  const good: RAMBlockOptions = { idstr: 'ram', size: 4096 };
  test.each<[string, Partial<RAMBlockOptions>, RegExp]>([
    ['an empty name', { idstr: '' }, /name/],
    ['a name of 256 bytes', { idstr: 'x'.repeat(256) }, /name/],
    ['a name the stream cannot carry', { idstr: 'ram-é' }, /name/],
    ['a name with a control character', { idstr: 'ram\n' }, /name/],
    ['size 0', { size: 0 }, /0 bytes/],
    ['a negative size', { size: -4096 }, /-4096/],
    ['half a byte', { size: 4096.5 }, /4096\.5/],
    ['no number', { size: Number.NaN }, /NaN/],
    ['more than a number can count', { size: 2 ** 53 }, /9007199254740992/],
    ['an unknown kind', { kind: 'paper' as MemoryKind }, /paper/],
    ['a page size that is no power of two', { pageSize: 3000 }, /3000/],
    ['a page size that is not the host’s', { pageSize: 2 * HOST_PAGE }, new RegExp(String(2 * HOST_PAGE))],
  ])('%s', (_what, options, message) => {
    const leaks = handleLeaks();
    let thrown: unknown;
    try {
      RAMBlock.create({ ...good, ...options }).close();
    } catch (error) {
      thrown = error;
    }
    expect(leaks()).toEqual({});
    expect(thrown).toMatchObject({ code: 'BAD_ARGUMENT', message: expect.stringMatching(message) });
  });

  test('a name of 255 bytes is good', () => {
    RAMBlock.create({ ...good, idstr: 'x'.repeat(255) }).close();
  });
});

test('more memory than a process has addresses is an error of mmap', () => {
  const blocks: RAMBlock[] = [];
  // One of half the address space may fit; two can't, as there is something else in it.
  const fill = (): void => {
    for (const idstr of ['half', 'other-half']) blocks.push(RAMBlock.create({ idstr, size: 2 ** 46 }));
  };
  expect(fill).toThrow(expect.objectContaining({ code: 'ENOMEM', syscall: 'mmap' }));
  for (const block of blocks) block.close();
});

describe('memory of WebAssembly', () => {
  test('is adopted as it is', () => {
    const memory = new webAssembly.Memory({ initial: 2 });
    using block = RAMBlock.adopt('wasm.0', memory);
    expect(block.descriptor).toMatchObject({ kind: 'anonymous', size: 2 * WASM_PAGE_SIZE, pageSize: HOST_PAGE });
    new Uint8Array(memory.buffer)[5] = 6;
    expect(block.bytes()[5]).toBe(6);
  });

  test.each<[string, AdoptableMemory]>([
    ['of no pages', new webAssembly.Memory({ initial: 0 })],
    ['that is shared', new webAssembly.Memory({ initial: 1, maximum: 1, shared: true })],
    ['that is no whole pages', { buffer: new ArrayBuffer(100) }],
  ])('is refused %s', (_what, memory) => {
    const adopt = () => RAMBlock.adopt('wasm.0', memory);
    expect(adopt).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
  });

  test('is refused where it is no plain memory, and nothing stays open', () => {
    using shared = RAMBlock.create({ idstr: 'shared', size: HOST_PAGE, kind: 'memfd' });
    const { buffer } = shared.bytes();
    const open = native().openHandles().ramBlocks;
    const adopt = () => RAMBlock.adopt('wasm.0', { buffer });
    expect(adopt).toThrow(/"wasm\.0".*not whole pages of anonymous/);
    expect(native().openHandles().ramBlocks).toBe(open);
  });
});
