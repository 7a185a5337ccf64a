/** The KVM guest as the engine and a user have it: it runs, stands still, puts out, dies, moves, and ends. */
import { readFileSync } from 'node:fs';
import { describe, expect, test, vi } from 'vitest';
import { KVM_IDSTR, KvmGuest } from '#lib/guest/kvm/kvm-guest.js';
import { native } from '#lib/native.js';
import { thereAndBack } from '#lib/testing/index.js';
import { withHugepages } from '../../../testing/hugepages.ts';
import {
  copyMemory,
  createGuest,
  emptyGuest,
  hasKvm,
  images,
  kvmKit,
  MIB,
  outputOf,
  shape,
  waitForPage,
} from '../../../testing/kvm-guests.ts';
import { handleLeaks } from '../../../testing/lib-thread.ts';
import { countThreads, until } from '../../../testing/native-thread.ts';

const one = { blocks: 1, kinds: ['anonymous'], vcpus: 1 } as const;
const nothingWrong = { lostPages: 0, tornPages: 0, stalePages: 0, lostWrites: 0, badPages: [] };

/** How often a thread of this process has gone to sleep by itself. */
function sleeps(thread: number): number {
  const status = readFileSync(`/proc/self/task/${thread}/status`, 'utf8');
  return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)?.[1]);
}

test('without KVM it says what is missing and what to do', async () => {
  vi.spyOn(native(), 'kvmApiVersion').mockImplementation(() => {
    throw Object.assign(new Error('no'), { code: 'ENOENT' });
  });
  await expect(KvmGuest.create(shape)).rejects.toMatchObject({
    code: 'GUEST_UNAVAILABLE',
    message: expect.stringContaining('there is no /dev/kvm'),
    hint: expect.stringContaining('--guest stress'),
  });
  vi.restoreAllMocks();
});

describe.skipIf(!hasKvm)('it runs', () => {
  test('its programme until it is stopped, and then touches nothing any more', async () => {
    const guest = await createGuest({ writesPerSecond: 0 });
    expect(guest.ramBlocks.map(({ idstr }) => idstr)).toEqual([KVM_IDSTR, `${KVM_IDSTR}.1`, `${KVM_IDSTR}.2`]);
    expect(guest.vcpuThreads).toEqual([]);
    await guest.start();
    expect(guest.running).toBe(true);
    expect(guest.vcpuThreads).toHaveLength(2);
    await until('both write', () => guest.stats.writesHere > 1000);
    await guest.stop();
    expect(guest.running).toBe(false);
    const { writes } = guest.stats;
    expect(await guest.verify()).toEqual({ pagesChecked: shape.memory / 4096, ...nothingWrong });
    expect(guest.stats).toMatchObject({ writes, writesHere: writes, badPages: 0, lostWrites: 0 });
    const { startedUs, stoppedUs } = guest.stats;
    expect(stoppedUs).toBeGreaterThan(startedUs);
  });

  test('again after every stop', async () => {
    const guest = await createGuest({ writesPerSecond: 0 });
    for (let turn = 0; turn < 20; turn += 1) {
      const before = guest.stats.writes;
      await guest.start();
      await until('it writes', () => guest.stats.writes > before + 10);
      await guest.stop();
      expect(await guest.verify()).toMatchObject(nothingWrong);
    }
  });

  test('a stop right behind the start finds all vCPUs', async () => {
    const guest = await createGuest({ vcpus: 4, writesPerSecond: 0 });
    for (let turn = 0; turn < 200; turn += 1) {
      await guest.start();
      await guest.stop();
    }
    expect(await guest.verify()).toMatchObject(nothingWrong);
  });

  test('no faster than it is told to', async () => {
    const guest = await createGuest({ writesPerSecond: 2000 });
    await guest.start();
    await until('it writes', () => guest.stats.writesHere > 100);
    await guest.stop();
    const { startedUs, stoppedUs, writesHere } = guest.stats;
    expect(writesHere).toBeLessThan(((stoppedUs - startedUs) / 1e6) * 2000 + 2 * 16 + 2);
  });

  test('held back as the engine asks it to, and not any more', async () => {
    const guest = await createGuest({ writesPerSecond: 0 });
    guest.throttle(90);
    await guest.start();
    const [thread] = guest.vcpuThreads;
    const begin = { rests: sleeps(thread), us: native().monotonicUs() };
    await until('it has rested', () => sleeps(thread) >= begin.rests + 5);
    expect(native().monotonicUs() - begin.us).toBeGreaterThan(4 * 90_000);
    guest.throttle(0);
    const { writesHere } = guest.stats;
    const rests = sleeps(thread);
    await until('it writes', () => guest.stats.writesHere > writesHere + 4000);
    expect(sleeps(thread) - rests).toBeLessThan(5);
    await guest.stop();
    expect(() => guest.throttle(100)).toThrow(RangeError);
  });

  test.each(['latency', 'random'] as const)('%s keeps how long each of its touches took', async (program) => {
    const guest = await createGuest({ program, writesPerSecond: 0 });
    await guest.start();
    await until('it touches', () => guest.stats.writesHere > 2000);
    await guest.stop();
    const { touches, p50Us, p99Us, maxUs, buckets } = guest.latency();
    expect(Math.abs(touches - guest.stats.writes)).toBeLessThanOrEqual(2);
    expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(touches);
    expect(p50Us).toBeGreaterThan(0);
    expect(p99Us).toBeGreaterThanOrEqual(p50Us);
    expect(maxUs).toBeGreaterThanOrEqual(p99Us);
    expect(await guest.verify()).toMatchObject(nothingWrong);
  });

  test.each(['writer', 'latency', 'random'] as const)('%s finds from outside what is damaged', async (program) => {
    const guest = await createGuest({ ...one, program, writesPerSecond: 0 });
    await guest.start();
    await until('it writes', () => guest.stats.writes > 2000);
    await guest.stop();
    const ram = guest.ramBlocks[0].bytes();
    ram[2 * MIB + 5] ^= 1;
    ram[4 * MIB - 1] = 1;
    expect((await guest.verify()).badPages).toEqual([512, 1023]);
  });

  test('and finds by itself what is lost', async () => {
    const guest = await createGuest({ ...one, writesPerSecond: 0 });
    const ram = guest.ramBlocks[0].bytes();
    await guest.start();
    await until('it writes', () => guest.stats.writes > 500);
    await guest.stop();
    ram.fill(0, MIB, MIB + 8192);
    expect(await guest.verify()).toMatchObject({ lostPages: 2, badPages: [256, 257] });
    await guest.start();
    await until('it finds both', () => guest.stats.badPages === 2);
    await guest.stop();
    expect(guest.stats.lostWrites).toBeGreaterThanOrEqual(4);
    expect(await guest.verify()).toMatchObject(nothingWrong);
  });
});

describe.skipIf(!hasKvm)('its ports', () => {
  test('put out what each vCPU writes, whoever wrote it', async () => {
    const guest = await createGuest({ program: images.serial });
    const seen: unknown[] = [];
    guest.on('output', ({ vcpu, port, bytes }) => seen.push([vcpu, port, ...bytes]));
    await guest.start();
    await until('both have', () => seen.length === 2);
    expect(seen).toEqual(
      expect.arrayContaining([
        [0, 'serial', 0],
        [1, 'serial', 1],
      ]),
    );
  });

  test('lose nothing to a reader that is late, and hold the vCPU back', async () => {
    const guest = await createGuest({ ...one, program: images.count });
    const bytes = outputOf(guest);
    await guest.start();
    await until('more is put out than is kept', () => bytes.length > 70_000);
    await guest.stop();
    expect(bytes.every((byte, index) => byte === index % 256)).toBe(true);
  });

  test('have given all by the time that it stands still', async () => {
    const guest = await createGuest({ ...one, program: images.count });
    const bytes = outputOf(guest);
    await guest.start();
    await until('it puts out', () => bytes.length > 0);
    await guest.stop();
    const { length } = bytes;
    await until('other work is done', () => true);
    expect(bytes).toHaveLength(length);
    expect(native().openHandles().kvmMachines).toBe(1);
  });
});

describe.skipIf(!hasKvm)('it dies of its own fault', () => {
  test.each([
    ['a triple fault', images.tripleFault, 'vCPU 0 shut down, as after a triple fault, at 0x20002'],
    ['memory that there is not', images.noMemory, 'vCPU 0 read from 0x40000000, where there is no memory'],
  ])('with %s, which is told with what and where', async (_what, program, message) => {
    const guest = await createGuest({ ...one, program });
    await guest.start();
    await expect(guest.died).resolves.toMatchObject({
      code: 'GUEST_FAILED',
      message: expect.stringContaining(message),
    });
    await guest.stop();
    await expect(guest.start()).rejects.toBe(await guest.died);
    guest.close();
  });

  test('of one vCPU, and the others stand still', async () => {
    // vCPU 0 spins, vCPU 1 dies: `test eax, eax; jz .; ud2`.
    const guest = await createGuest({ program: Uint8Array.of(0x85, 0xc0, 0x74, 0xfe, 0x0f, 0x0b) });
    await guest.start();
    expect((await guest.died).message).toContain('vCPU 1');
    await guest.stop();
    expect(guest.running).toBe(false);
  });
});

describe.skipIf(!hasKvm)('a guest that halts', () => {
  test.each([false, true])('is stopped, and still halts where it moves to (interrupt chips: %s)', async (irqchip) => {
    const guest = await createGuest({ program: images.halt, irqchip });
    const bytes = outputOf(guest);
    await guest.start();
    await until('both vCPUs have put out', () => bytes.length === 2);
    await guest.stop();
    const there = emptyGuest({ irqchip });
    const more = outputOf(there);
    copyMemory(guest, there);
    await there.loadDeviceState(await guest.saveDeviceState());
    await there.start();
    await there.stop();
    await there.start();
    await there.stop();
    expect([bytes, more]).toEqual([[0x61, 0x61], []]);
  });
});

describe.skipIf(!hasKvm)('a vCPU that waits for a page', () => {
  const settings = { ...one, program: images.touch };

  test('lets a stop wait, and stops with it', async () => {
    const guest = await createGuest(settings);
    const { place, end } = await waitForPage(guest);
    let stopped = false;
    const stopping = guest.stop().then(() => {
      stopped = true;
    });
    await until('other work is done', () => true);
    expect(stopped).toBe(false);
    place();
    await stopping;
    end();
    expect(guest.ramBlocks[0].bytes()[MIB]).toBeGreaterThan(0);
  });

  test('does not spend the time of a processor while a stop waits', async () => {
    const guest = await createGuest(settings);
    const { place, end } = await waitForPage(guest);
    const before = process.cpuUsage();
    const beginUs = native().monotonicUs();
    const stopping = guest.stop();
    await until('a while is over', () => native().monotonicUs() > beginUs + 200_000);
    const { system } = process.cpuUsage(before);
    place();
    await stopping;
    end();
    expect(system).toBeLessThan(150_000);
  });

  test('stays when the guest is closed, keeps the memory, and ends when it has the page', async () => {
    const leaks = handleLeaks();
    const guest = await createGuest(settings);
    const { end } = await waitForPage(guest);
    guest.close();
    expect(countThreads('kvm-vcpu/')).toBe(1);
    await until('somebody waits for it', () => countThreads('kvm-closer') === 1);
    end(); // the page reads as zeroes now
    await until('its threads ended', () => countThreads('kvm-') === 0);
    expect(leaks()).toEqual({});
  });
});

describe.skipIf(!hasKvm)('it moves', () => {
  test('there and back ten times, with several vCPUs and blocks', { timeout: 180_000 }, async () => {
    const settings = { ...shape, memory: 8 * MIB, writesPerSecond: 0, reportPasses: 1 };
    const moves = await thereAndBack(kvmKit(settings), { times: 10 });
    expect(moves).toHaveLength(20);
    for (const { outgoing } of moves) {
      expect(outgoing).toMatchObject({ status: 'completed', dirtyTracking: 'wp-async' });
    }
    // A guest that did not come to write in a whole pass, on a busy host, has nothing left for postcopy.
    expect(moves.filter(({ incoming }) => incoming.postcopy).length).toBeGreaterThan(0);
  });

  test('with interrupt chips, and by the log of the hypervisor', { timeout: 180_000 }, async () => {
    const settings = { ...shape, irqchip: true, dirtyLog: 'kvm', program: 'latency' } as const;
    const moves = await thereAndBack(kvmKit(settings), { times: 2 });
    expect(moves.map(({ outgoing }) => outgoing.dirtyTracking)).toEqual(['kvm', 'kvm', 'kvm', 'kvm']);
  });

  test('in memory of hugepages, beside other', { timeout: 180_000 }, async () => {
    const settings = { memory: 12 * MIB, blocks: 2, kinds: ['anonymous', 'hugetlb'], vcpus: 2 } as const;
    await withHugepages(2 * 6, async () => {
      await thereAndBack(kvmKit({ ...settings, dirtyLog: 'wp-async' }), { times: 1 });
      await thereAndBack(kvmKit({ ...settings, dirtyLog: 'kvm' }), { times: 1 });
    });
  });

  test('and no byte of its output is lost or doubled', { timeout: 180_000 }, async () => {
    const bytes: number[] = [];
    const collect = (guest: KvmGuest): KvmGuest =>
      guest.on('output', (output) => bytes.push(...output.bytes)) as KvmGuest;
    const settings = { ...shape, vcpus: 1, program: images.count };
    await thereAndBack<KvmGuest>(
      {
        create: async () => collect(await KvmGuest.create(settings)),
        empty: async () => collect(KvmGuest.empty(settings)),
        verify: async () => {},
        progress: async () => {
          const { length } = bytes;
          await until('it puts out', () => bytes.length > length + 300);
        },
        close: (guest) => guest.close(),
      },
      { times: 3 },
    );
    expect(bytes.length).toBeGreaterThan(6 * 600);
    expect(bytes.findIndex((byte, index) => byte !== index % 256)).toBe(-1);
  });
});

describe.skipIf(!hasKvm)('its end', () => {
  test('leaves nothing, also while it runs', async () => {
    const leaks = handleLeaks();
    const guest = await KvmGuest.create({ ...shape, program: images.count });
    await guest.start();
    guest.close();
    guest.close(); // harmless
    await expect(guest.start()).rejects.toMatchObject({ code: 'GUEST_FAILED' });
    await until('its threads ended', () => countThreads('kvm-vcpu/') === 0);
    expect(leaks()).toEqual({});
  });

  test.each([
    ['no vCPUs', { vcpus: 0 }],
    ['17 vCPUs', { vcpus: 17 }],
    ['one page', { memory: 4096 }],
    ['4 GiB', { memory: 2 ** 32 }],
    ['nothing to work on', { memory: MIB }],
    ['65 blocks', { blocks: 65 }],
    ['another log', { dirtyLog: 'soft-dirty' as 'kvm' }],
    ['a longer image', { program: new Uint8Array(5 * MIB) }],
  ])('is also that of one of %s', async (_what, wrong) => {
    const leaks = handleLeaks();
    await expect(KvmGuest.create({ ...shape, ...wrong })).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    expect(leaks()).toEqual({});
  });

  test('one with nothing to run does not start or save', async () => {
    const guest = emptyGuest();
    await expect(guest.start()).rejects.toThrow('nothing to run');
    await expect(guest.saveDeviceState()).rejects.toThrow('nothing to run');
  });

  test('what is not of its programme is refused', async () => {
    const guest = await createGuest({ program: images.spin });
    await expect(guest.verify()).rejects.toMatchObject({ code: 'BAD_ARGUMENT' });
    expect(() => guest.latency()).toThrow(expect.objectContaining({ code: 'BAD_ARGUMENT' }));
    expect(guest.stats).toMatchObject({ writes: 0, writesHere: 0 });
  });
});
