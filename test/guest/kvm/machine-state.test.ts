/** The kernel's structures of a machine: all of them there and back, or none. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { decodeDeviceState } from '#lib/guest/kvm/device-state.js';
import { native } from '#lib/native.js';
import { copyMemory, createGuest, emptyGuest, hasKvm, images } from '../../../testing/kvm-guests.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

describe.skipIf(!hasKvm)('the state of a machine', () => {
  test.each([false, true])('has all structures of each vCPU, then its own (interrupt chips: %s)', async (irqchip) => {
    const { sections } = decodeDeviceState(await (await createGuest({ irqchip })).saveDeviceState());
    const names = sections.map(({ vcpu, name }) => (vcpu === undefined ? name : `${vcpu}/${name}`));
    const perVcpu = [
      'sregs',
      'xcrs',
      'xsave',
      ...(irqchip ? ['lapic'] : []),
      'msrs',
      'mp-state',
      'debug-regs',
      'regs',
      'events',
    ];
    const whole = irqchip ? ['pic0', 'pic1', 'ioapic', 'pit2', 'clock'] : ['clock'];
    expect(names).toEqual([...perVcpu.map((name) => `0/${name}`), ...perVcpu.map((name) => `1/${name}`), ...whole]);
  });

  test('reads the same where it was set', async () => {
    const guest = await createGuest({ irqchip: true, program: images.spin });
    await guest.start();
    await guest.stop();
    const saved = await guest.saveDeviceState();
    const there = emptyGuest({ irqchip: true });
    copyMemory(guest, there);
    await there.loadDeviceState(saved);
    const still = (bytes: Uint8Array) =>
      // Timers run on: the clock, the TSC and its like, the PIT, the local APIC's count.
      decodeDeviceState(bytes).sections.filter(({ name }) => !/^(clock|msrs|pit2|lapic)$/.test(name));
    expect(still(await there.saveDeviceState())).toEqual(still(saved));
  });

  test('is as it was where one structure is refused', async () => {
    const guest = await createGuest({ program: images.spin });
    const saved = await guest.saveDeviceState();
    const { kvmSetState } = native();
    let sets = 0;
    vi.spyOn(native(), 'kvmSetState').mockImplementation((...args) => {
      sets += 1;
      if (sets === 12) throw Object.assign(new Error('no'), { code: 'EINVAL', arguments: { msr: 0x4b } });
      kvmSetState(...args);
    });
    await expect(guest.loadDeviceState(saved)).rejects.toThrow(/refused by this KVM \(EINVAL, MSR 0x4b\)$/);
    await guest.start();
    await guest.stop();
  });

  test('that is neither one nor the other does not start, until it is given a whole one', async () => {
    const guest = await createGuest({ program: images.spin });
    const saved = await guest.saveDeviceState();
    const refuse = vi.spyOn(native(), 'kvmSetState').mockImplementation(() => {
      throw Object.assign(new Error('no'), { code: 'EINVAL' });
    });
    await expect(guest.loadDeviceState(saved)).rejects.toThrow('nor does it take its own state back');
    await expect(guest.start()).rejects.toThrow('nor does it take its own state back');
    refuse.mockRestore();
    await guest.loadDeviceState(saved);
    await guest.start();
    await guest.stop();
  });
});
