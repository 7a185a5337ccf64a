/** The hypervisor's log of writes, beside that of write protection: over one machine, they find the same. */
import { describe, expect, test } from 'vitest';
import { PageBitmap } from '#lib/memory/bitmap.js';
import { DirtyLog } from '#lib/memory/dirty-log.js';
import { KvmDirtyLog } from '#lib/memory/kvm-dirty-log.js';
import { pageCount } from '#lib/memory/page.js';
import { native } from '#lib/native.js';
import { createGuest, hasKvm, MIB, outputOf } from '../../testing/kvm-guests.ts';
import { until } from '../../testing/native-thread.ts';

const pagesOf = (bitmaps: readonly PageBitmap[]): number[] => {
  let begin = 0;
  return bitmaps.flatMap((bitmap) => {
    const pages: number[] = [];
    for (let at = bitmap.findNext(0); at < bitmap.pageCount; at = bitmap.findNext(at + 1)) pages.push(begin + at);
    begin += bitmap.pageCount;
    return pages;
  });
};

/** Adds 1 to each of `pages`, puts out a byte, and again: `inc dword [page]` for each; `out 0xe9, al; jmp` back. */
function writesTo(pages: readonly number[]): Uint8Array {
  const incs = pages.flatMap((page) => [0xff, 0x05, ...new Uint8Array(Uint32Array.of(page * 4096).buffer)]);
  const back = new Uint8Array(Int32Array.of(-(incs.length + 7)).buffer);
  return Uint8Array.of(...incs, 0xe6, 0xe9, 0xe9, ...back);
}

describe.skipIf(!hasKvm)('the log', () => {
  const settings = { memory: 4 * MIB, blocks: 3, vcpus: 1 } as const;

  test.each([
    { kinds: ['anonymous'] as const, dirtyLog: 'kvm' as const },
    { kinds: ['memfd', 'anonymous'] as const, dirtyLog: 'kvm' as const },
  ])('finds what the machine wrote, exactly, as write protection does: %j', async ({ kinds, dirtyLog }) => {
    const written = [256, 257, 300, 511, 700, 1000, 1023];
    const guest = await createGuest({ ...settings, kinds, dirtyLog, program: writesTo(written) });
    // What is not mapped counts as written.
    for (const { handle, size } of guest.ramBlocks) await native().ramBlockPopulate(handle, 0, size);
    if (guest.writeLog === undefined) throw new Error('no log of the hypervisor');
    const output = outputOf(guest);
    const logs = [DirtyLog.start(guest.ramBlocks), KvmDirtyLog.start(guest.ramBlocks, guest.writeLog.machine)];
    try {
      for (let round = 1; round <= 3; round += 1) {
        const { length } = output;
        await guest.start();
        await until('it has written all', () => output.length > length + round);
        await guest.stop();
        const found = logs.map((log) => {
          const dirty = guest.ramBlocks.map(({ size }) => new PageBitmap(pageCount(size)));
          const count = log.sync(dirty);
          const pages = pagesOf(dirty);
          expect(count).toBe(pages.length);
          return pages;
        });
        expect(found).toEqual([written, written]);
      }
    } finally {
      for (const log of logs) log.stop();
    }
  });

  test('takes what was discarded for written', async () => {
    const guest = await createGuest({ ...settings, blocks: 1, kinds: ['anonymous'], dirtyLog: 'kvm' });
    const [block] = guest.ramBlocks;
    await native().ramBlockPopulate(block.handle, 0, block.size);
    if (guest.writeLog === undefined) throw new Error('no log of the hypervisor');
    const log = KvmDirtyLog.start(guest.ramBlocks, guest.writeLog.machine);
    expect(block.discard(700 * 4096, 8192)).toBe(true);
    const dirty = [new PageBitmap(pageCount(block.size))];
    expect(log.sync(dirty)).toBe(2);
    expect(pagesOf(dirty)).toEqual([700, 701]);
    log.stop();
  });

  test('is one at a time, and begins anew', async () => {
    const guest = await createGuest({ ...settings, dirtyLog: 'kvm' });
    if (guest.writeLog === undefined) throw new Error('no log of the hypervisor');
    const { machine } = guest.writeLog;
    const log = KvmDirtyLog.start(guest.ramBlocks, machine);
    expect(() => KvmDirtyLog.start(guest.ramBlocks, machine)).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    log.stop();
    KvmDirtyLog.start(guest.ramBlocks, machine).stop();
  });
});
