/** Memory against what a programme must have left, without a machine: filled, changed and checked from outside. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ProgramState } from '#lib/guest/kvm/device-state.js';
import { checkMemory, fillMemory } from '#lib/guest/kvm/memory-check.js';
import { GuestMemory, IMAGE_ADDRESS, ownPageAddress, WORK_ADDRESS } from '#lib/guest/kvm/memory-map.js';
import { encodeOwnPage } from '#lib/guest/kvm/own-page.js';
import { vcpuRanges } from '#lib/guest/kvm/program.js';
import { fillPage, pageKey, type WriterPlace } from '#lib/guest/kvm/writer-pages.js';
import { RAMBlock } from '#lib/memory/ram-block.js';

const PAGE = 4096;
const at = (page: number): number => WORK_ADDRESS + page * PAGE;
const good = { pagesChecked: 856, lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0, badPages: [] };
let blocks: RAMBlock[];
let memory: GuestMemory;
const image = Uint8Array.of(0xeb, 0xfe);

const check = (state: ProgramState, places: readonly WriterPlace[]) => checkMemory(memory, state, image, places);

beforeEach(async () => {
  blocks = [100, 756].map((pages, index) => RAMBlock.create({ idstr: `ram${index}`, size: pages * PAGE }));
  memory = new GuestMemory(blocks);
  await fillMemory(memory, at(500));
  memory.write(IMAGE_ADDRESS, image);
  for (const [vcpu, range] of vcpuRanges(at(4), 2).entries()) {
    memory.write(ownPageAddress(vcpu), encodeOwnPage({ ...range, interval: 0, report: 0 }));
  }
});

afterEach(() => {
  for (const block of blocks) block.close();
});

function writePage(page: number, pass: number, next = 0): void {
  const words = new Uint32Array(PAGE / 4);
  fillPage(words, 0, at(page), pass, next);
  memory.write(at(page), new Uint8Array(words.buffer));
}

const program = (kind: 'writer' | 'latency' | 'random', done: number[]): ProgramState => ({
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
    expect(await check(program('writer', [1, 8]), places)).toEqual(good);
    writePage(1, 1, 2); // a word less than the registers say
    expect(await check(program('writer', [1, 8]), places)).toMatchObject({
      tornPages: 1,
      badPages: [257],
    });
    writePage(1, 1, 3);
    expect(await check(program('writer', [2, 9]), places)).toEqual(good); // counted, and the registers not yet moved
    // An own page of an earlier time, and one that has counted more than the registers say.
    expect(await check(program('writer', [0, 10]), places)).toMatchObject({
      stalePages: 1,
      badPages: [1],
      lostWrites: 1,
    });
  });

  test('what it does not work on stays as it was filled, and the rest zero', async () => {
    const idle: WriterPlace[] = [
      { pass: 2, page: at(0), words: 0 },
      { pass: 2, page: at(2), words: 0 },
    ];
    expect(await check(program('writer', [0, 0]), idle)).toEqual(good);
    memory.write(at(300) + 77, Uint8Array.of(1));
    memory.write(at(599) + 4095, Uint8Array.of(1));
    expect((await check(program('writer', [0, 0]), idle)).badPages).toEqual([256 + 300, 256 + 599]);
  });
});

const touch = (page: number, times: number): void => {
  const word = Uint32Array.of(pageKey(at(page), 1) + times);
  memory.write(at(page), new Uint8Array(word.buffer));
};

test('of random: pages have had as many touches together as were counted', async () => {
  touch(0, 5);
  touch(3, 2);
  expect(await check(program('random', [5, 2]), [])).toEqual(good);
  expect(await check(program('random', [4, 1]), [])).toEqual(good); // one not counted yet
  touch(0, 2); // stale
  expect(await check(program('random', [5, 2]), [])).toEqual({ ...good, lostWrites: 3 });
  touch(0, 5);
  // Its own page is of an earlier time.
  expect(await check(program('random', [3, 2]), [])).toMatchObject({ stalePages: 2, badPages: [256, 1] });
  touch(0, 7); // of no such guest
  expect(await check(program('random', [5, 2]), [])).toMatchObject({ stalePages: 2, badPages: [256, 1] });
});

test('nothing below the first MiB has changed', async () => {
  memory.write(IMAGE_ADDRESS + 1, Uint8Array.of(0));
  memory.write(ownPageAddress(1), Uint8Array.of(0xff));
  memory.write(0, Uint8Array.of(1));
  expect((await check(program('latency', [0, 0]), [])).badPages).toEqual([0, 2, 32]);
});

describe('of latency', () => {
  test('pages have had as many touches as were counted', async () => {
    for (const [page, times] of [
      [0, 3],
      [1, 2],
      [2, 1],
      [3, 1],
    ]) {
      touch(page, times);
    }
    expect(await check(program('latency', [5, 2]), [])).toEqual(good);
    expect(await check(program('latency', [4, 2]), [])).toEqual(good); // one not counted yet
    touch(0, 2);
    expect(await check(program('latency', [5, 2]), [])).toEqual({ ...good, lostWrites: 1 });
    touch(0, 0);
    expect(await check(program('latency', [5, 2]), [])).toMatchObject({ lostWrites: 3, badPages: [256] });
  });
});
