/** kvm_machine.cc and what belongs to it: arguments, state by name and size, what is busy, and every end. */
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test } from 'vitest';
import { type KvmMachineHandle, native, type RamBlockHandle } from '#lib/native.js';
import { hasKvm, images } from '../../testing/kvm-guests.ts';
import { handleLeaks } from '../../testing/lib-thread.ts';
import { blockedIn, countThreads, onThread, systemCallOf, until } from '../../testing/native-thread.ts';

const n = native();
const c = n.constants;
const none = new Uint32Array(0);
const IMAGE = 0x2_0000;
const blocks: RamBlockHandle[] = [];
const machines: KvmMachineHandle[] = [];

afterEach(() => {
  for (const machine of machines.splice(0)) n.kvmMachineClose(machine);
  for (const block of blocks.splice(0)) n.ramBlockClose(block);
});

function createBlock(pages = 256): RamBlockHandle {
  const block = n.ramBlockCreate(c.MEMORY_ANONYMOUS, pages * c.HOST_PAGE_SIZE, c.HOST_PAGE_SIZE);
  blocks.push(block);
  return block;
}

function createMachine({
  vcpus = 1,
  irqchip = 0 as 0 | 1,
  image = images.spin as Uint8Array,
  onEvent = () => {},
} = {}) {
  const block = createBlock();
  n.ramBlockWrite(block, IMAGE, image);
  const machine = n.kvmMachineCreate([block], vcpus, irqchip, onEvent);
  machines.push(machine);
  for (let vcpu = 0; vcpu < vcpus; vcpu += 1) {
    n.kvmEnterFlat(machine, vcpu, { eip: IMAGE, esp: 0x3000, ebp: 0x2000, eax: vcpu, ecx: vcpus });
  }
  return machine;
}

/** As bytes of `struct kvm_regs`: the instruction pointer. */
const rip = (machine: KvmMachineHandle): bigint =>
  new DataView(n.kvmGetState(machine, 0, 'regs', none).buffer).getBigUint64(128, true);

describe.skipIf(!hasKvm)('arguments', () => {
  test('of a machine are checked by name', () => {
    const block = createBlock();
    const create = (wrong: unknown[]) => () => (n.kvmMachineCreate as (...args: unknown[]) => unknown)(...wrong);
    expect(create([[], 1, 0, () => {}])).toThrow(/^blocks /);
    expect(create([[block], 0, 0, () => {}])).toThrow(/^vcpus /);
    expect(create([[block], 17, 0, () => {}])).toThrow(/^vcpus /);
    expect(create([[block], 1, 2, () => {}])).toThrow(/^irqchip /);
    expect(create([[block], 1, 0, 7])).toThrow(/^onEvent must be a function/);
    expect(create([[99999], 1, 0, () => {}])).toThrow(expect.objectContaining({ code: 'EBADF' }));
    const large = n.ramBlockCreate(c.MEMORY_ANONYMOUS, 0xc000_1000, c.HOST_PAGE_SIZE);
    blocks.push(large);
    expect(create([[large], 1, 0, () => {}])).toThrow('blocks must have 3 GiB at most');
  });

  test('of a state are checked by name, vCPU and exact size', () => {
    const machine = createMachine();
    expect(() => n.kvmGetState(machine, 1, 'regs', none)).toThrow(/^vcpu /);
    expect(() => n.kvmGetState(machine, 0, 'lapic', none)).toThrow(/^name must be one of kvmStateNames/);
    for (const { name, bytes } of states(machine)) {
      expect(() => n.kvmSetState(machine, 0, name, new Uint8Array(bytes.length + 1))).toThrow(/^bytes /);
      expect(() => n.kvmSetState(machine, 0, name, bytes.subarray(1))).toThrow(bytes.length > 0 ? /^bytes / : /./);
      n.kvmSetState(machine, 0, name, bytes);
    }
    expect(() => n.kvmSetCpuid(machine, 0, new Uint8Array(39))).toThrow(/^entries /);
    expect(() => n.kvmMachineThrottle(machine, 100)).toThrow(/^percent /);
    expect(() => n.kvmHarvestDirtyPages(machine, 1, new Uint32Array(8))).toThrow(/^block /);
    expect(() => n.kvmHarvestDirtyPages(machine, 0, new Uint32Array(7))).toThrow(/^bitmap /);
    expect(() => n.kvmProgram('other' as 'writer')).toThrow(/^name /);
  });
});

function states(machine: KvmMachineHandle): { name: string; bytes: Uint8Array }[] {
  const names = n.kvmStateNames(machine);
  return [...names.vcpu, ...names.machine].map((name) => ({
    name,
    bytes: n.kvmGetState(machine, 0, name, n.kvmMsrIndexes()),
  }));
}

describe.skipIf(!hasKvm)('a machine', () => {
  test('enters its image in flat protected mode', () => {
    const machine = createMachine();
    expect(rip(machine)).toBe(BigInt(IMAGE));
    n.kvmMachineStart(machine);
    expect(n.kvmMachineStop(machine, 10_000)).toBe(true);
    expect(rip(machine)).toBe(BigInt(IMAGE));
  });

  test('that runs has no state to be got or set, and is not started twice', async () => {
    const machine = createMachine();
    const regs = n.kvmGetState(machine, 0, 'regs', none);
    n.kvmMachineStart(machine);
    n.kvmMachineStart(machine); // harmless
    const busy = expect.objectContaining({ code: 'EBUSY' });
    expect(() => n.kvmGetState(machine, 0, 'regs', none)).toThrow(busy);
    expect(() => n.kvmSetState(machine, 0, 'regs', regs)).toThrow(busy);
    expect(() => n.kvmSetCpuid(machine, 0, n.kvmSupportedCpuid())).toThrow(busy);
    expect(() => n.kvmEnterFlat(machine, 0, { eip: 0, esp: 0, ebp: 0, eax: 0, ecx: 0 })).toThrow(busy);
    expect(n.kvmMachineStop(machine, 10_000)).toBe(true);
    n.kvmSetState(machine, 0, 'regs', regs);
  });

  test('says when there is something to look at, and gives it once', async () => {
    let rings = 0;
    const machine = createMachine({
      image: images.serial,
      onEvent: () => {
        rings += 1;
      },
    });
    n.kvmMachineStart(machine);
    await until('it rings', () => rings > 0);
    n.kvmMachineStop(machine, 10_000);
    expect(n.kvmMachineTakeOutput(machine)).toEqual([{ vcpu: 0, port: 0x3f8, bytes: Uint8Array.of(0) }]);
    expect(n.kvmMachineTakeOutput(machine)).toEqual([]);
  });

  test('keeps no more output than its limit, and waits', async () => {
    const machine = createMachine({ image: images.count });
    n.kvmMachineStart(machine);
    await until('it keeps 64 KiB and its vCPU waits', () => systemCallOf('kvm-vcpu/0') === blockedIn.futex);
    n.kvmMachineStop(machine, 10_000);
    const [{ bytes }] = n.kvmMachineTakeOutput(machine);
    expect(bytes.length).toBe(64 * 1024 + 1); // the one that waited
    expect(bytes.every((byte, index) => byte === index % 256)).toBe(true);
  });

  test('has a halted vCPU without interrupt chips, which is a state like any other', async () => {
    const machine = createMachine({ image: images.halt });
    n.kvmMachineStart(machine);
    await until('it halts', () => n.kvmMachineStatus(machine).halted === 1);
    n.kvmMachineStop(machine, 10_000);
    const halted = n.kvmGetState(machine, 0, 'mp-state', none);
    expect(halted).toEqual(Uint8Array.of(3, 0, 0, 0));
    n.kvmSetState(machine, 0, 'mp-state', Uint8Array.of(0, 0, 0, 0));
    expect(n.kvmMachineStatus(machine).halted).toBe(0);
    n.kvmSetState(machine, 0, 'mp-state', halted);
    expect(n.kvmMachineStatus(machine).halted).toBe(1);
  });

  test('is stopped and started from several threads at once', async () => {
    const machine = createMachine({ vcpus: 4 });
    const threads = [0, 1].map((number) =>
      onThread(`kvm-test/${number}`, machine, (addon, handle) => {
        for (let turn = 0; turn < 100; turn += 1) {
          try {
            addon.kvmMachineStart(handle);
          } catch (error) {
            if ((error as { code?: string }).code !== 'EBUSY') throw error;
          }
          addon.kvmMachineStop(handle, 1000);
        }
        return true;
      }),
    );
    expect(await Promise.all(threads.map(({ result }) => result))).toEqual([true, true]);
    expect(n.kvmMachineStop(machine, 10_000)).toBe(true);
  });
});

describe.skipIf(!hasKvm)('its end', () => {
  test('takes threads, descriptors and handles with it', async () => {
    const leaks = handleLeaks();
    const machine = createMachine({ vcpus: 3, irqchip: 1 });
    n.kvmMachineStart(machine);
    machines.length = 0;
    expect(n.kvmMachineClose(machine)).toBe(0);
    expect(() => n.kvmMachineStart(machine)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    n.ramBlockClose(blocks.pop() as RamBlockHandle);
    expect(leaks()).toEqual({});
    await until('its threads ended', () => countThreads('kvm-vcpu/') === 0);
  });

  test('may be that of the thread which made it: the machine runs on, and rings nobody', async () => {
    const made = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       import(workerData.url).then(({ native }) => {
         const n = native();
         const block = n.ramBlockCreate(n.constants.MEMORY_ANONYMOUS, 2 ** 20, n.constants.HOST_PAGE_SIZE);
         n.ramBlockWrite(block, 0x20000, workerData.image);
         const machine = n.kvmMachineCreate([block], 1, 0, () => {});
         n.kvmEnterFlat(machine, 0, { eip: 0x20000, esp: 0x3000, ebp: 0x2000, eax: 0, ecx: 1 });
         n.kvmMachineStart(machine);
         parentPort.postMessage({ machine, block });
         parentPort.on('message', () => {}); // stays
       });`,
      { eval: true, workerData: { url: import.meta.resolve('#lib/native.js'), image: images.count } },
    );
    type Made = { machine: KvmMachineHandle; block: RamBlockHandle };
    const { machine, block } = await new Promise<Made>((resolve) => made.once('message', resolve));
    machines.push(machine);
    blocks.push(block);
    await made.terminate();
    n.kvmMachineTakeOutput(machine);
    await until('it puts out more', () => n.kvmMachineTakeOutput(machine).length > 0);
    expect(n.kvmMachineStop(machine, 10_000)).toBe(true);
  });

  test('is not needed for that of a thread: a machine keeps no event loop alive', async () => {
    const worker = new Worker(
      `const { parentPort, workerData } = require('node:worker_threads');
       import(workerData.url).then(({ native }) => {
         const n = native();
         const block = n.ramBlockCreate(n.constants.MEMORY_ANONYMOUS, 2 ** 20, n.constants.HOST_PAGE_SIZE);
         const machine = n.kvmMachineCreate([block], 1, 0, () => {});
         parentPort.postMessage({ machine, block });
       });`,
      { eval: true, workerData: { url: import.meta.resolve('#lib/native.js') } },
    );
    worker.once('message', ({ machine, block }) => {
      machines.push(machine);
      blocks.push(block);
    });
    expect(await new Promise((resolve) => worker.once('exit', resolve))).toBe(0);
    expect(machines).toHaveLength(1);
  });
});
