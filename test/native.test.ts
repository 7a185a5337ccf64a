/** The addon as a whole: constants, handles, argument checks, errors, and many threads at once. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { bitNames, constantNames, type NativeError, native, type RamBlockHandle } from '#lib/native.js';
import { countThreads, onThread, until } from '../testing/native-thread.ts';

const n = native();
const c = n.constants;
const PAGE = c.HOST_PAGE_SIZE;

function failure(call: () => unknown): NativeError {
  try {
    call();
  } catch (error) {
    return error as NativeError;
  }
  throw new Error('did not throw');
}

const mappings = (): number => readFileSync('/proc/self/maps', 'utf8').split('\n').length;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

describe('constants', () => {
  test('are exactly the names that lib/native.ts lists', () => {
    expect(Object.keys(c).sort()).toEqual([...constantNames, ...bitNames].sort());
  });

  test('are numbers, or bigints where they are bits', () => {
    for (const name of constantNames) expect(typeof c[name]).toBe('number');
    for (const name of bitNames) expect(typeof c[name]).toBe('bigint');
  });

  test('hold the kernel ABI', () => {
    expect(c.UFFD_EVENT_PAGEFAULT).toBe(0x12);
    expect(c.MADV_DONTNEED).toBe(4);
    expect(c.UFFD_FEATURE_MOVE).toBe(1n << 16n);
    expect(c.PAGE_IS_WRITTEN).toBe(2n);
    expect(Object.isFrozen(c)).toBe(true);
  });

  test('keep event words and outcomes apart', () => {
    const words = [c.EVENT_KIND, c.EVENT_ADDRESS, c.EVENT_FLAGS, c.EVENT_THREAD, c.EVENT_LENGTH, c.EVENT_TO];
    words.push(c.EVENT_HANDLE);
    expect(new Set(words).size).toBe(words.length);
    expect(Math.max(...words)).toBeLessThan(c.EVENT_WORDS);
    const outcomes = [c.OUTCOME_PLACED, c.OUTCOME_PRESENT, c.OUTCOME_RETRY, c.OUTCOME_GONE];
    expect(new Set([0, ...outcomes]).size).toBe(5); // 0 is kept for "not tried"
    expect(c.KICKED).toBeLessThan(0);
    expect(c.NO_PAGE).toBe(0xffffffff);
  });
});

test('both builds list every source, in the same order', () => {
  const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
  const listed = (path: string): string[] =>
    [...read(path).matchAll(/native\/(\w+\.(?:cc|S))/g)].map((match) => match[1]);
  expect(listed('CMakeLists.txt')).toEqual(listed('binding.gyp'));
  const present = readdirSync(new URL('../native', import.meta.url)).filter((name) => /\.(cc|S)$/.test(name));
  expect(listed('binding.gyp').sort()).toEqual(present.sort());
});

describe('functions', () => {
  test('are exactly those that lib/native.ts declares', () => {
    const text = readFileSync(new URL('../lib/native.ts', import.meta.url), 'utf8');
    const body = text.slice(text.indexOf('export interface Native {'), text.indexOf('export const constantNames'));
    const declared = [...body.matchAll(/^ {2}(\w+)\(/gm)].map((match) => match[1]);
    const exported = Object.entries(n).filter(([, value]) => typeof value === 'function');
    expect(exported.map(([name]) => name).sort()).toEqual(declared.sort());
  });

  test('monotonicUs is CLOCK_MONOTONIC', () => {
    const before = Number(process.hrtime.bigint()) / 1000;
    const between = n.monotonicUs();
    const after = Number(process.hrtime.bigint()) / 1000;
    expect(between).toBeGreaterThanOrEqual(before - 1);
    expect(between).toBeLessThanOrEqual(after + 1);
  });

  test('setThreadName cuts to 15 bytes', async () => {
    const named = onThread('first', undefined, (n) => {
      n.setThreadName('a-name-of-more-than-15-bytes');
      return process.getBuiltinModule('node:fs').readFileSync('/proc/thread-self/comm', 'utf8');
    });
    expect(await named.result).toBe('a-name-of-more-\n');
  });

  test("threadId is the kernel's", async () => {
    expect(n.threadId()).toBe(process.pid); // of the main thread
    const thread = onThread('other', undefined, (n) => [
      n.threadId(),
      Number(process.getBuiltinModule('node:fs').readlinkSync('/proc/thread-self').split('/').pop()),
    ]);
    const [given, known] = await thread.result;
    expect(given).toBe(known);
  });

  test('kvmApiVersion is 12, or says that the device is not there', () => {
    try {
      expect(n.kvmApiVersion()).toBe(12);
    } catch (error) {
      expect(error).toMatchObject({ syscall: 'open', arguments: { path: '/dev/kvm' } });
    }
  });
});

describe('handles', () => {
  test('are never reused, and a closed one is EBADF', () => {
    const first = n.eventfdCreate();
    n.eventfdClose(first);
    const second = n.eventfdCreate();
    expect(second).toBeGreaterThan(first);
    for (const call of [() => n.eventfdClose(first), () => n.eventfdSignal(first)]) {
      expect(failure(call)).toMatchObject({ code: 'EBADF', errno: 9, arguments: { kick: first, expected: 'Eventfd' } });
    }
    n.eventfdClose(second);
  });

  test('of another kind are EBADF and name both kinds', () => {
    const kick = n.eventfdCreate();
    const error = failure(() => n.ramBlockInfo(kick as unknown as RamBlockHandle));
    expect(error.arguments).toEqual({ block: kick, expected: 'RamBlock', found: 'Eventfd' });
    n.eventfdClose(kick);
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 60, Number.POSITIVE_INFINITY])('%s is EBADF', (handle) => {
    expect(failure(() => n.ramBlockInfo(handle as RamBlockHandle)).code).toBe('EBADF');
  });

  test.each(['1', null, undefined, {}, 1n])('%s is a TypeError', (handle) => {
    const error = failure(() => n.ramBlockInfo(handle as unknown as RamBlockHandle));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^block must be/);
  });

  test('are counted by kind', () => {
    const before = n.openHandles();
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, PAGE, PAGE);
    const [left, right] = n.socketPair();
    expect(n.openHandles()).toEqual({ ...before, ramBlocks: before.ramBlocks + 1, sockets: before.sockets + 2 });
    n.ramBlockClose(block);
    n.socketClose(left);
    n.socketClose(right);
    expect(n.openHandles()).toEqual(before);
  });
});

describe('errors', () => {
  test('of system calls carry code, errno, syscall and arguments', () => {
    const error = failure(() => n.userfaultfdOpen('syscall', 1n << 60n));
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ code: 'EINVAL', errno: 22, syscall: 'ioctl(UFFDIO_API)' });
    expect(error.arguments).toEqual({ missing: 'bit 60' });
    expect(error.message).toContain('ioctl(UFFDIO_API): EINVAL');
  });

  test('of arguments name the argument', () => {
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 4 * PAGE, PAGE);
    const pages = new Uint32Array([0, 4]);
    const bytes = new Uint8Array(2 * PAGE);
    const cases: [RegExp, ErrorConstructor | RangeErrorConstructor | TypeErrorConstructor, () => unknown][] = [
      [/^kind must/, RangeError, () => n.ramBlockCreate(9, PAGE, PAGE)],
      [/^size must/, RangeError, () => n.ramBlockCreate(c.MEMORY_ANONYMOUS, PAGE + 1, PAGE)],
      [/^size must/, RangeError, () => n.ramBlockCreate(c.MEMORY_ANONYMOUS, 0, PAGE)],
      [/^pageSize must/, RangeError, () => n.ramBlockCreate(c.MEMORY_ANONYMOUS, 4 * PAGE, 2 * PAGE)],
      [/^pageSize must/, RangeError, () => n.ramBlockCreate(c.MEMORY_HUGETLB, PAGE, PAGE)],
      [/^pages must/, RangeError, () => n.findZeroPages(block, PAGE, pages, 2, bytes)],
      [/^count must/, RangeError, () => n.findZeroPages(block, PAGE, pages, 3, bytes)],
      [/^pageSize must/, RangeError, () => n.findZeroPages(block, 3000, pages, 1, bytes)],
      [/^zero must/, RangeError, () => n.findZeroPages(block, PAGE, pages, 1, new Uint8Array(0))],
      [/^pages must/, TypeError, () => n.findZeroPages(block, PAGE, bytes as unknown as Uint32Array, 1, bytes)],
      [/^offsets must/, RangeError, () => n.loadPages(block, PAGE, pages, 1, bytes, new Uint32Array([PAGE + 1]))],
      [/^offsets must/, RangeError, () => n.loadPages(block, PAGE, pages, 1, bytes, new Uint32Array([0xffffffff]))],
      [/^offsets must/, RangeError, () => n.loadPages(block, PAGE, pages, 1, bytes, new Uint32Array(0))],
      [/^fills must/, RangeError, () => n.fillPages(block, PAGE, pages, 1, new Uint8Array(0))],
      [/^target must/, RangeError, () => n.ramBlockRead(block, 3 * PAGE, bytes)],
      [/^offset must/, RangeError, () => n.ramBlockRead(block, 5 * PAGE, bytes)],
      [/^source must/, RangeError, () => n.ramBlockWrite(block, 3 * PAGE, bytes)],
      [/^offset must/, RangeError, () => n.ramBlockWrite(block, -1, bytes)],
      [/^advice must/, RangeError, () => n.ramBlockAdvise(block, 999, 0, PAGE)],
      [/^offset must/, RangeError, () => n.ramBlockAdvise(block, c.MADV_DONTNEED, 1, PAGE)],
      [/^length must/, RangeError, () => n.ramBlockAdvise(block, c.MADV_DONTNEED, PAGE, 4 * PAGE)],
      [/^mask must/, RangeError, () => n.countPages(block, 0, PAGE, 1n << 70n)],
      [/^via must/, RangeError, () => n.userfaultfdOpen('elsewhere' as 'device', 0n)],
      [/^features must/, TypeError, () => n.userfaultfdOpen('device', 0 as unknown as bigint)],
    ];
    for (const [message, kind, call] of cases) {
      const error = failure(call);
      expect(error.message).toMatch(message);
      expect(error).toBeInstanceOf(kind);
    }
    expect(n.countPages(block, 0, 4 * PAGE, c.PAGE_IS_PRESENT)).toBe(0); // none of them came to touch memory
    n.ramBlockClose(block);
  });
});

describe('many threads', () => {
  test('eight at once see one block through views of their own', async () => {
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 64 * PAGE, PAGE);
    const here = new Uint8Array(n.ramBlockBuffer(block));
    const turns = new Int32Array(new SharedArrayBuffer(8));
    const threads = Array.from({ length: 8 }, (_, index) =>
      onThread(`viewer/${index}`, { block, index, turns, PAGE }, (n, { block, index, turns, PAGE }) => {
        const view = new Uint8Array(n.ramBlockBuffer(block));
        if (n.ramBlockBuffer(block) !== view.buffer) throw new Error('another view');
        // Each waits for its turn, checks the byte of the one before it and writes its own.
        while (Atomics.load(turns, 0) !== index) Atomics.wait(turns, 0, Atomics.load(turns, 0), 10);
        const seen = index === 0 ? 0 : view[(index - 1) * PAGE];
        view[index * PAGE] = index + 1;
        Atomics.store(turns, 0, index + 1);
        Atomics.notify(turns, 0);
        return seen;
      }),
    );
    expect(await Promise.all(threads.map(({ result }) => result))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(Array.from({ length: 8 }, (_, index) => here[index * PAGE])).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    await Promise.all(threads.map(({ terminate }) => terminate()));
    expect(here[0]).toBe(1);
    n.ramBlockClose(block);
    expect(here.length).toBe(0); // detached
  });

  test('a handle outlives the thread that made it', async () => {
    const maker = onThread('maker', undefined, (n) => {
      const { MEMORY_MEMFD, HOST_PAGE_SIZE } = n.constants;
      const block = n.ramBlockCreate(MEMORY_MEMFD, HOST_PAGE_SIZE, HOST_PAGE_SIZE);
      new Uint8Array(n.ramBlockBuffer(block))[0] = 42;
      return block;
    });
    const block = await maker.result;
    await maker.terminate();
    expect(new Uint8Array(n.ramBlockBuffer(block))[0]).toBe(42);
    n.ramBlockClose(block);
  });

  test('a closed block stays mapped for the views of other threads', async () => {
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, PAGE, PAGE);
    const gate = new Int32Array(new SharedArrayBuffer(8));
    const viewer = onThread('viewer', { block, gate }, (n, { block, gate }) => {
      const view = new Uint8Array(n.ramBlockBuffer(block));
      view[0] = 7;
      Atomics.store(gate, 0, 1);
      Atomics.wait(gate, 1, 0);
      return view[0] + view.length;
    });
    await until('the thread has its view', () => Atomics.load(gate, 0) === 1);
    n.ramBlockClose(block);
    Atomics.store(gate, 1, 1);
    Atomics.notify(gate, 1);
    expect(await viewer.result).toBe(7 + PAGE);
    await viewer.terminate();
  });

  test('ended in the middle of their work leave nothing behind', async () => {
    const fds = descriptors();
    const threads = Array.from({ length: 8 }, (_, index) =>
      onThread(`ending/${index}`, undefined, (n) => {
        const { MEMORY_ANONYMOUS, HOST_PAGE_SIZE } = n.constants;
        for (;;) {
          const block = n.ramBlockCreate(MEMORY_ANONYMOUS, HOST_PAGE_SIZE, HOST_PAGE_SIZE);
          new Uint8Array(n.ramBlockBuffer(block))[0] = 1;
          n.ramBlockClose(block);
        }
      }),
    );
    await until('all of them run', () => countThreads('ending/') === 8);
    await Promise.all(threads.map(({ terminate }) => terminate()));
    expect(countThreads('ending/')).toBe(0);
    expect(n.openHandles().ramBlocks).toBeLessThanOrEqual(8); // one each, between create and close
    await until('their descriptors are closed', () => descriptors() <= fds);
  });
});

describe('leaks', () => {
  async function cycle(): Promise<void> {
    for (const kind of [c.MEMORY_ANONYMOUS, c.MEMORY_MEMFD]) {
      const block = n.ramBlockCreate(kind, 16 * PAGE, PAGE);
      const view = new Uint8Array(n.ramBlockBuffer(block));
      view[0] = 1;
      const { handle: uffd } = n.userfaultfdOpen('syscall', 0n);
      n.userfaultfdRegister(uffd, block, PAGE, PAGE, c.UFFDIO_REGISTER_MODE_MISSING);
      const [left, right] = n.socketPair();
      const kick = n.eventfdCreate();
      const options = { vcpus: 1, seed: 1, filledPages: 16, workingSetPages: 16, writesPerSecond: 0 };
      const guest = n.stressGuestCreate([block], options);
      expect(n.stressGuestClose(guest)).toBe(0);
      n.userfaultfdClose(uffd);
      n.ramBlockClose(block);
      n.socketClose(left);
      n.socketClose(right);
      n.eventfdClose(kick);
      expect(() => n.userfaultfdOpen('syscall', 1n << 60n)).toThrow();
    }
  }

  test('nothing is left of a hundred rounds of everything', async () => {
    await cycle();
    await new Promise(setImmediate);
    const handles = n.openHandles();
    const [fds, maps] = [descriptors(), mappings()];
    for (let round = 0; round < 100; round++) await cycle();
    expect(n.openHandles()).toEqual(handles);
    // Detached views let go of their block in the next turn of the event loop.
    await until('the descriptors are closed', () => descriptors() <= fds);
    // The runtime maps a little for itself; a hundred rounds of leaks would be 200 mappings.
    await until('the mappings are gone', () => mappings() < maps + 40);
  });

  test('a view that this runtime refuses leaves no mapping', async () => {
    const size = 5 * 2 ** 30;
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, size, PAGE);
    const start = n.ramBlockInfo(block).address.toString(16);
    const isMapped = (): boolean => new RegExp(`^0*${start}-`, 'm').test(readFileSync('/proc/self/maps', 'utf8'));
    expect(isMapped()).toBe(true);
    try {
      expect(n.ramBlockBuffer(block).byteLength).toBe(size);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_BUFFER_TOO_LARGE' });
    }
    n.ramBlockClose(block);
    await until('it is unmapped', () => !isMapped());
  });
});

test('a process ends while vCPUs run', () => {
  const program = `
    const { native } = await import(process.argv[1]);
    const n = native(), c = n.constants;
    const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 1 << 20, c.HOST_PAGE_SIZE);
    const options = { vcpus: 2, seed: 1, filledPages: 64, workingSetPages: 64, writesPerSecond: 0 };
    const guest = n.stressGuestCreate([block], options);
    n.stressGuestStart(guest);
    while (n.stressGuestStats(guest).writesHere === 0) await new Promise(setImmediate);
    process.exit(7);
  `;
  const url = import.meta.resolve('#lib/native.js');
  const run = () => execFileSync(process.execPath, ['--input-type=module', '-e', program, url], { timeout: 20_000 });
  expect(failure(run)).toMatchObject({ status: 7, signal: null });
});
