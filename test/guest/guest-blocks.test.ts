/** The split of a guest's memory over RAM blocks; the layouts are tested with the stress guest. */
import { expect, test } from 'vitest';
import { createBlocks } from '#lib/guest/guest-blocks.js';
import { handleLeaks } from '../../testing/lib-thread.ts';

test('blocks are named behind the first, in the kinds in turn', () => {
  const blocks = createBlocks('x.ram', { memory: 20 * 4096, blocks: 3, kinds: ['memfd', 'anonymous'] });
  expect(blocks.map(({ idstr, kind }) => [idstr, kind])).toEqual([
    ['x.ram', 'memfd'],
    ['x.ram.1', 'anonymous'],
    ['x.ram.2', 'memfd'],
  ]);
  expect(blocks.reduce((sum, { size }) => sum + size, 0)).toBe(20 * 4096);
  for (const block of blocks) block.close();
});

test.each([{ memory: 0 }, { memory: 1.5 }, { memory: 4096, blocks: 65 }, { memory: 4096, kinds: [] }])(
  '%j is refused',
  (wrong) => {
    expect(() => createBlocks('x', wrong)).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
  },
);

test('all are mapped, or none', () => {
  const leaks = handleLeaks();
  expect(() => createBlocks('x', { memory: 2 ** 50, blocks: 2 })).toThrow();
  expect(leaks()).toEqual({});
});
