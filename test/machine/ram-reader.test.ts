/** The reader of RAM: digests and files, pages that come while it waits for them, and its end in every case. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RamReader } from '#lib/machine/ram-reader.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { openUserfaultfd } from '#lib/memory/userfaultfd.js';
import { native } from '#lib/native.js';

const MIB = 2 ** 20;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'postcopy-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function block(idstr: string, size: number, filled: readonly (readonly [number, string])[]): RAMBlock {
  const made = RAMBlock.create({ idstr, size });
  for (const [offset, text] of filled) native().ramBlockWrite(made.handle, offset, Buffer.from(text));
  return made;
}

test('gives the digest of each block, and writes it to its file without its zero pages', async () => {
  using first = block('first', 3 * MIB + 4096, [
    [4096, 'begin'],
    [3 * MIB - 5, 'over two pages'],
  ]);
  using second = block('second', 8192, []);
  const blocks = [first, second];
  const files = ['a', 'b'].map((name) => join(folder, name));
  const reader = new RamReader(
    blocks.map(({ descriptor }) => descriptor),
    files,
  );
  reader.start();
  const digests = blocks.map((each) => sha256(each.bytes()));
  expect(await reader.ended).toEqual({ kind: 'returned', result: digests });
  for (const [index, each] of blocks.entries()) {
    expect(readFileSync(files[index]).equals(Buffer.from(each.bytes()))).toBe(true);
  }
  expect(reader.bytesRead).toBe(3 * MIB + 4096 + 8192);
  expect(reader.dataBytes).toBe(2 * 4096 + 4096);
  expect(statSync(files[0]).blocks * 512).toBeLessThan(MIB);
});

test('ends, where it is stopped before it has begun', async () => {
  using ram = block('ram', 4096, []);
  const reader = new RamReader([ram.descriptor], undefined);
  reader.stop();
  reader.start();
  expect(await reader.ended).toEqual({ kind: 'kicked' });
});

test('a file that is there already is an error, and left alone', async () => {
  using ram = block('ram', 4096, []);
  const reader = new RamReader([ram.descriptor], [folder]);
  reader.start();
  expect(await reader.ended).toMatchObject({ kind: 'failed', error: { code: 'EEXIST' } });
});

describe('with pages that are missing', () => {
  /** A block with all of its pages missing, and the userfaultfd for them. */
  function missing() {
    const { constants: c, userfaultfdRegister } = native();
    const ram = RAMBlock.create({ idstr: 'ram', size: 16 * 4096 });
    native().ramBlockAdvise(ram.handle, c.MADV_NOHUGEPAGE, 0, ram.size);
    const { handle: uffd } = openUserfaultfd(c.UFFD_FEATURE_THREAD_ID);
    userfaultfdRegister(uffd, ram.handle, 0, ram.size, c.UFFDIO_REGISTER_MODE_MISSING);
    const kick = native().eventfdCreate();
    const events = new Float64Array(c.EVENT_WORDS);
    return {
      ram,
      uffd,
      /** The page and the thread of the next fault. */
      fault: () => {
        expect(native().readEvents(uffd, kick, events, 10_000)).toBe(1);
        return { page: (events[c.EVENT_ADDRESS] - ram.address) >> 12, thread: events[c.EVENT_THREAD] };
      },
      close: () => {
        native().eventfdClose(kick);
        ram.close();
      },
    };
  }

  test('it faults on each in turn, as the thread it says it is, and takes what comes', async () => {
    const { ram, uffd, fault, close } = missing();
    const reader = new RamReader([ram.descriptor], undefined);
    reader.start();
    const content = Buffer.alloc(ram.size);
    const faulting = new Set<number>();
    for (let page = 0; page < 16; page += 1) {
      const { page: faulted, thread } = fault();
      expect(faulted).toBe(page);
      faulting.add(thread);
      content.fill(page + 1, page * 4096, (page + 1) * 4096);
      const outcomes = new Uint8Array(1);
      const bytes = content.subarray(page * 4096, (page + 1) * 4096);
      native().placePages(uffd, ram.handle, 4096, Uint32Array.of(page), 1, bytes, Uint32Array.of(0), 0, outcomes);
    }
    expect(await reader.ended).toEqual({ kind: 'returned', result: [sha256(content)] });
    expect(reader.threadIds).toEqual([...faulting]);
    native().userfaultfdClose(uffd);
    close();
  });

  test('what was let go of is not taken for what the machine had', async () => {
    const { ram, uffd, fault, close } = missing();
    const reader = new RamReader([ram.descriptor], [join(folder, 'a')]);
    reader.start();
    fault();
    reader.stop();
    native().userfaultfdClose(uffd);
    expect(await reader.ended).toEqual({ kind: 'kicked' });
    expect(reader.bytesRead).toBe(0);
    close();
  });
});
