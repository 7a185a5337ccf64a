/** Which log is started is data. */
import { afterEach, expect, test, vi } from 'vitest';
import { DirtyLog } from '#lib/memory/dirty-log.js';
import { KvmDirtyLog } from '#lib/memory/kvm-dirty-log.js';
import { RAMBlock } from '#lib/memory/ram-block.js';
import { startWriteLog } from '#lib/memory/write-log.js';
import { type KvmMachineHandle, native } from '#lib/native.js';

afterEach(() => {
  vi.restoreAllMocks();
});

test('write protection, or the hypervisor that the guest names', () => {
  const block = RAMBlock.create({ idstr: 'ram', size: 4096 });
  const log = startWriteLog([block], undefined);
  expect(log).toBeInstanceOf(DirtyLog);
  log.stop();
  const logWrites = vi.spyOn(native(), 'kvmLogWrites').mockReturnValue();
  const machine = 7 as KvmMachineHandle;
  const other = startWriteLog([block], { kind: 'kvm', machine });
  expect(other).toBeInstanceOf(KvmDirtyLog);
  other.stop();
  expect(logWrites.mock.calls).toEqual([
    [machine, 1],
    [machine, 0],
  ]);
  block.close();
});
