/** The two look-ups of a RAM list, over descriptors that are not mapped. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RAMBlockDescriptor } from '#lib/memory/ram-block.js';
import { RAMList } from '#lib/memory/ram-list.js';
import type { RamBlockHandle } from '#lib/native.js';

function descriptor(index: number, address: number, pages: number, pageSize = 4096): RAMBlockDescriptor {
  const handle = (index + 1) as RamBlockHandle;
  return { idstr: `ram${index}`, handle, size: pages * pageSize, pageSize, kind: 'anonymous', address };
}

/** Blocks that do not overlap, in any order, some of them neighbours. */
const layout = fc
  .array(fc.record({ gap: fc.integer({ min: 0, max: 2 }), pages: fc.integer({ min: 1, max: 3 }) }), {
    minLength: 1,
    maxLength: 6,
  })
  .chain((pieces) => {
    let at = 2 ** 46;
    const blocks = pieces.map(({ gap, pages }, index) => {
      const block = descriptor(index, at + gap * 4096, pages);
      at = block.address + block.size;
      return block;
    });
    return fc.shuffledSubarray(blocks, { minLength: blocks.length });
  });

test('a range of host addresses is found in every block it covers, whichever way they lie (property)', () => {
  const pages = fc.integer({ min: 0, max: 20 });
  fc.assert(
    fc.property(layout, pages, pages, (blocks, first, count) => {
      const address = 2 ** 46 + first * 4096;
      const found = new RAMList(blocks).intersections(address, count * 4096);
      const foundPages = found.flatMap(({ block, index, offset, length }) => {
        expect(blocks[index]).toBe(block);
        return Array.from({ length: length / 4096 }, (_, i) => (block.address + offset) / 4096 + i);
      });
      const inBlocks = Array.from({ length: count }, (_, i) => address / 4096 + i).filter((page) =>
        blocks.some((block) => page * 4096 >= block.address && page * 4096 < block.address + block.size),
      );
      expect(foundPages.sort((a, b) => a - b)).toEqual(inBlocks);
    }),
  );
});

test('a host address is found in the one block around it, or in none (property)', () => {
  fc.assert(
    fc.property(layout, fc.integer({ min: -4096, max: 20 * 4096 }), (blocks, at) => {
      const address = 2 ** 46 + at;
      const around = blocks.filter((block) => address >= block.address && address < block.address + block.size);
      const found = new RAMList(blocks).fromHost(address);
      expect(found === undefined ? [] : [found.block]).toEqual(around);
      if (found === undefined) return;
      expect(blocks[found.index]).toBe(found.block);
      expect(found.block.address + found.offset).toBe(address);
    }),
  );
});

test('names are found, and a miss is -1, whatever the name', () => {
  const ram = new RAMList([descriptor(0, 0, 1), descriptor(1, 4096, 1)]);
  expect(['ram0', 'ram1', 'ram2', '', 'constructor', '__proto__'].map((name) => ram.indexOf(name))).toEqual([
    0, 1, -1, -1, -1, -1,
  ]);
});

test('sums sizes, and ors page sizes', () => {
  const ram = new RAMList([
    descriptor(0, 0, 3),
    descriptor(1, 2 ** 40, 2, 2 ** 21),
    descriptor(2, 2 ** 41, 1, 2 ** 30),
  ]);
  expect(ram.size).toBe(3 * 4096 + 2 * 2 ** 21 + 2 ** 30);
  expect(ram.pageSizeSummary).toBe(4096 + 2 ** 21 + 2 ** 30);
});

describe('refuses', () => {
  test.each([
    ['no block', []],
    ['two blocks of one name', [descriptor(0, 0, 1), { ...descriptor(1, 4096, 1), idstr: 'ram0' }]],
  ])('%s', (_what, blocks) => {
    expect(() => new RAMList(blocks)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
  });
});

test.each([4096, 2 ** 21, 2 ** 26])('host pages of %i bytes are taken in postcopy', (pageSize) => {
  new RAMList([descriptor(0, 0, 1), descriptor(1, 2 ** 30, 1, pageSize)]).requirePostcopyPageSizes();
});

test('host pages that would hold the guest for long are not', () => {
  const ram = new RAMList([descriptor(0, 0, 1), descriptor(1, 2 ** 30, 1, 2 ** 30)]);
  expect(() => ram.requirePostcopyPageSizes()).toThrow(
    expect.objectContaining({ code: 'UNSUPPORTED', message: expect.stringContaining('ram1') }),
  );
});
