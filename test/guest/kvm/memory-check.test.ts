/** Memory against what a programme must have left, without a machine: filled, changed and checked from outside. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ProgramState } from '#lib/guest/kvm/device-state.js';
import { checkMemory, fillMemory } from '#lib/guest/kvm/memory-check.js';
import { GuestMemory, WORK_ADDRESS } from '#lib/guest/kvm/memory-map.js';
import { fillPage, pageKey, type WriterPlace } from '#lib/guest/kvm/writer-pages.js';
import { RAMBlock } from '#lib/memory/ram-block.js';

const PAGE = 4096;
const at = (page: number): number => WORK_ADDRESS + page * PAGE;
const good = { pagesChecked: 600, lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0, badPages: [] };
let blocks: RAMBlock[];
let memory: GuestMemory;

beforeEach(async () => {
  blocks = [100, 756].map((pages, index) => RAMBlock.create({ idstr: `ram${index}`, size: pages * PAGE }));
  memory = new GuestMemory(blocks);
  await fillMemory(memory, at(500));
});

afterEach(() => {
  for (const block of blocks) block.close();
});

function writePage(page: number, pass: number, next = 0): void {
  const words = new Uint32Array(PAGE / 4);
  fillPage(words, 0, at(page), pass, next);
  memory.write(at(page), new Uint8Array(words.buffer));
}

const program = (kind: 'writer' | 'latency', done: number[]): ProgramState => ({
  kind,
  filledEnd: at(500),
  workEnd: at(4),
  done,
});

describe('of a writer', () => {
  const places: WriterPlace[] = [
    { pass: 2, page: at(1), words: 3 },
    { pass: 5, page: at(4), words: 0 },
  ];

  test('each page has its pass, and the one it is at a part of the next', async () => {
    writePage(0, 2);
    writePage(1, 1, 3);
    writePage(2, 5);
    writePage(3, 5);
    expect(await checkMemory(memory, program('writer', [0, 0]), places)).toEqual(good);
    writePage(1, 1, 2); // a word less than the registers say
    expect(await checkMemory(memory, program('writer', [0, 0]), places)).toMatchObject({
      tornPages: 1,
      badPages: [257],
    });
  });

  test('what it does not work on stays as it was filled, and the rest zero', async () => {
    const idle: WriterPlace[] = [
      { pass: 2, page: at(0), words: 0 },
      { pass: 2, page: at(2), words: 0 },
    ];
    expect(await checkMemory(memory, program('writer', [0, 0]), idle)).toEqual(good);
    memory.write(at(300) + 77, Uint8Array.of(1));
    memory.write(at(599) + 4095, Uint8Array.of(1));
    expect((await checkMemory(memory, program('writer', [0, 0]), idle)).badPages).toEqual([256 + 300, 256 + 599]);
  });
});

describe('of latency', () => {
  const touch = (page: number, times: number): void => {
    const word = Uint32Array.of(pageKey(at(page), 1) + times);
    memory.write(at(page), new Uint8Array(word.buffer));
  };

  test('pages have had as many touches as were counted', async () => {
    for (const [page, times] of [
      [0, 3],
      [1, 2],
      [2, 1],
      [3, 1],
    ]) {
      touch(page, times);
    }
    expect(await checkMemory(memory, program('latency', [5, 2]), [])).toEqual(good);
    expect(await checkMemory(memory, program('latency', [4, 2]), [])).toEqual(good); // one not counted yet
    touch(0, 2);
    expect(await checkMemory(memory, program('latency', [5, 2]), [])).toEqual({ ...good, lostWrites: 1 });
    touch(0, 0);
    expect(await checkMemory(memory, program('latency', [5, 2]), [])).toMatchObject({ lostWrites: 3, badPages: [256] });
  });
});
