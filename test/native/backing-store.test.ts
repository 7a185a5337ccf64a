/** backing_store.cc: the memory of an ArrayBuffer as a RAM block, which outlives its JavaScript. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { WASM_PAGE_SIZE, type WasmMemory, webAssembly } from '#lib/guest/wasm/webassembly.js';
import { native, type RamBlockHandle } from '#lib/native.js';
import { blockedIn, onThread, systemCallOf, until } from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;

const unshared = (pages: number): WasmMemory => new webAssembly.Memory({ initial: pages });

const mapsLineAt = (address: number): string | undefined =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .find((line) => line.startsWith(`${address.toString(16)}-`));

const byteAt = (block: RamBlockHandle, offset: number): number => {
  const target = new Uint8Array(1);
  n.ramBlockRead(block, offset, target);
  return target[0];
};

/** A thread that fills a memory, hands it over, and ends. */
async function fromAnotherThread(): Promise<RamBlockHandle> {
  const thread = onThread('maker', WASM_PAGE_SIZE, (native, size) => {
    const { WebAssembly } = globalThis as unknown as { WebAssembly: typeof webAssembly };
    const memory = new WebAssembly.Memory({ initial: 2 });
    new Uint8Array(memory.buffer).fill(7, size);
    return native.ramBlockAdopt(memory);
  });
  const block = await thread.result;
  await thread.terminate();
  return block;
}

describe('an adopted block', () => {
  test('is the memory itself', () => {
    const memory = unshared(2);
    const block = n.ramBlockAdopt(memory);
    const { address: _, ...info } = n.ramBlockInfo(block);
    expect(info).toEqual({ kind: c.MEMORY_ANONYMOUS, size: 2 * WASM_PAGE_SIZE, pageSize: PAGE, fd: -1 });
    new Uint8Array(memory.buffer)[PAGE] = 5;
    expect(byteAt(block, PAGE)).toBe(5);
    n.ramBlockWrite(block, PAGE, Uint8Array.of(6));
    expect(new Uint8Array(memory.buffer)[PAGE]).toBe(6);
    n.ramBlockClose(block);
    expect(new Uint8Array(memory.buffer)[PAGE]).toBe(6);
  });

  test('stays as large as it was, and the same memory, when that grows', () => {
    const memory = unshared(1);
    const block = n.ramBlockAdopt(memory);
    memory.grow(16);
    new Uint8Array(memory.buffer)[PAGE] = 9;
    expect(byteAt(block, PAGE)).toBe(9);
    expect(n.ramBlockInfo(block).size).toBe(WASM_PAGE_SIZE);
    n.ramBlockClose(block);
  });

  test('outlives its thread, and its memory goes when it is closed', async () => {
    const block = await fromAnotherThread();
    const { address } = n.ramBlockInfo(block);
    expect(byteAt(block, WASM_PAGE_SIZE)).toBe(7);
    expect(mapsLineAt(address)).toMatch(/ rw-p /);
    n.ramBlockClose(block);
    expect(mapsLineAt(address)).toBeUndefined();
  });

  test('goes although a userfaultfd watches it that nobody reads', async () => {
    const block = await fromAnotherThread();
    const { address, size } = n.ramBlockInfo(block);
    const { handle: uffd } = n.userfaultfdOpen('syscall', c.UFFD_FEATURE_EVENT_UNMAP);
    n.userfaultfdRegister(uffd, block, 0, size, c.UFFDIO_REGISTER_MODE_MISSING);
    n.ramBlockClose(block);
    expect(mapsLineAt(address)).toBeUndefined();
    n.userfaultfdClose(uffd);
  });

  test('is kept by a thread that waits for one of its pages after all else has gone', async () => {
    const block = await fromAnotherThread();
    const { size } = n.ramBlockInfo(block);
    n.ramBlockDiscard(block, Float64Array.of(0, size), 1);
    const { handle: uffd } = n.userfaultfdOpen('syscall', 0n);
    n.userfaultfdRegister(uffd, block, 0, size, c.UFFDIO_REGISTER_MODE_MISSING);
    const reader = onThread('late-reader', block, (native, handle) => {
      const target = new Uint8Array(1);
      native.ramBlockRead(handle, 0, target);
      return target[0];
    });
    await until('the reader is in its fault', () => systemCallOf('late-reader') === blockedIn.fault);
    const outcomes = new Uint8Array(1);
    const page = new Uint8Array(PAGE).fill(3);
    const again = n.ramBlockAdopt({ buffer: n.ramBlockBuffer(block) });
    n.ramBlockClose(block);
    n.placePages(uffd, again, PAGE, Uint32Array.of(0), 1, page, Uint32Array.of(0), 0, outcomes);
    n.ramBlockClose(again);
    expect(await reader.result).toBe(3);
    n.userfaultfdClose(uffd);
  });
});

describe('refused is', () => {
  test.each<[string, unknown, RegExp]>([
    ['no buffer', undefined, /^buffer must be an ArrayBuffer/],
    ['shared memory', new SharedArrayBuffer(PAGE), /^buffer must be an ArrayBuffer/],
    ['an empty one', new ArrayBuffer(0), /^buffer must be whole pages/],
    ['less than a page', new ArrayBuffer(16), /^buffer must be whole pages/],
    ['what does not begin with a page', new ArrayBuffer(1 << 24), /^buffer must be whole pages/],
  ])('%s', (_what, buffer, refusal) => {
    expect(() => n.ramBlockAdopt({ buffer: buffer as ArrayBuffer })).toThrow(refusal);
  });

  test('a memory that has grown away', () => {
    const memory = unshared(1);
    const { buffer } = memory;
    memory.grow(1);
    expect(() => n.ramBlockAdopt({ buffer })).toThrow(/^buffer must be whole pages/);
  });

  test('to unmap it or move it away', () => {
    const block = n.ramBlockAdopt(unshared(1));
    expect(() => n.ramBlockUnmap(block, 0, PAGE)).toThrow(/^block must not be adopted/);
    expect(() => n.ramBlockMoveAway(block, 0, PAGE)).toThrow(/^block must not be adopted/);
    n.ramBlockClose(block);
  });
});
