/** Guest memory by address: over the blocks' borders, and nothing outside them. */
import { afterEach, expect, test, vi } from 'vitest';
import { GuestMemory, IMAGE_ADDRESS, MAX_VCPUS, ownPageAddress, WORK_ADDRESS } from '#lib/guest/kvm/memory-map.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { native } from '#lib/native.js';

const blocks: RAMBlock[] = [];

afterEach(() => {
  for (const block of blocks.splice(0)) block.close();
  vi.restoreAllMocks();
});

function createMemory(...pages: number[]): GuestMemory {
  blocks.push(...pages.map((count, index) => RAMBlock.create({ idstr: `ram${index}`, size: count * 4096 })));
  return new GuestMemory(blocks);
}

test('the parts of low memory do not touch', () => {
  expect(ownPageAddress(0)).toBeGreaterThan(0);
  expect(ownPageAddress(MAX_VCPUS)).toBeLessThanOrEqual(IMAGE_ADDRESS);
  expect(IMAGE_ADDRESS).toBeLessThan(WORK_ADDRESS);
});

test('blocks follow each other without a gap', () => {
  const memory = createMemory(1, 2, 1);
  expect(memory.size).toBe(4 * 4096);
  const bytes = Uint8Array.from({ length: 3 * 4096 }, (_, index) => index % 251);
  memory.write(2048, bytes);
  expect(memory.read(2048, bytes.length)).toEqual(bytes);
  expect(blocks[1].bytes()[0]).toBe(2048 % 251);
  expect(blocks[2].bytes()[2047]).toBe(bytes[bytes.length - 1]);
  expect(memory.read(0, 2048).every((byte) => byte === 0)).toBe(true);
});

test('there is nothing beyond them', () => {
  const memory = createMemory(1, 1);
  for (const [address, length] of [
    [8192, 1],
    [8191, 2],
    [-1, 1],
  ]) {
    expect(() => memory.read(address, length)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
  }
  expect(() => memory.write(8000, new Uint8Array(193))).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
});

test('a page is known to be there once it was written, where the kernel can tell', () => {
  const memory = createMemory(1, 1);
  memory.write(4096, Uint8Array.of(1));
  expect([memory.isPresent(0), memory.isPresent(4096)]).toEqual([false, true]);
  vi.spyOn(native(), 'hasPagemapScan').mockReturnValue(false);
  expect(memory.isPresent(4096)).toBe(false);
});
