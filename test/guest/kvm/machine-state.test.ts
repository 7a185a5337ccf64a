/** The kernel's structures of a machine: all of them there and back, or none. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { decodeDeviceState, encodeDeviceState, type StateSection } from '#lib/guest/kvm/device-state.js';
import { native } from '#lib/native.js';
import { copyMemory, createGuest, emptyGuest, hasKvm, images } from '../../../testing/kvm-guests.ts';

const TSC = 0x10;
const SYSENTER_CS = 0x174;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const wordAt = (bytes: Uint8Array, at: number): number => Number(viewOf(bytes).getBigUint64(at, true));
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b);

/** Where the value of an MSR is among `struct kvm_msr_entry`. */
function msrAt(bytes: Uint8Array, index: number): number {
  for (let at = 0; at < bytes.length; at += 16) if (viewOf(bytes).getUint32(at, true) === index) return at + 8;
  throw new Error(`no MSR ${index}`);
}

const msrOf = (bytes: Uint8Array, index: number): number => wordAt(bytes, msrAt(bytes, index));

/** Something else in each structure than a machine has by itself. Offsets are those of `linux/kvm.h`. */
const changes: Readonly<Record<string, (view: DataView, bytes: Uint8Array) => void>> = {
  sregs: (view) => view.setBigUint64(232, 0x1234_5000n, true), // cr2
  xsave: (view) => {
    view.setBigUint64(160, 0x1122_3344_5566_7788n, true); // xmm0
    view.setUint32(512, 3, true); // x87 and SSE are there
  },
  msrs: (view, bytes) => {
    view.setBigUint64(msrAt(bytes, SYSENTER_CS), 0x10n, true);
    view.setBigUint64(msrAt(bytes, TSC), 2n ** 50n, true);
  },
  'mp-state': (view) => view.setUint32(0, 3, true), // halted
  'debug-regs': (view) => view.setBigUint64(0, 0x1234n, true), // dr0
  regs: (view) => view.setBigUint64(15 * 8, 0x77n, true), // r15
  events: (view) => view.setUint8(14, 1), // NMIs are masked
  clock: (view) => view.setBigUint64(0, 2n ** 50n, true),
};

function changed({ name, bytes }: StateSection): Uint8Array {
  const copy = bytes.slice();
  changes[name]?.(viewOf(copy), copy);
  return copy;
}

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

  test('has in each structure what it was given', async () => {
    const guest = await createGuest({ program: images.spin });
    const state = decodeDeviceState(await guest.saveDeviceState());
    const sections = state.sections.map((section) => ({ ...section, bytes: changed(section) }));
    await guest.loadDeviceState(encodeDeviceState({ ...state, sections }));
    const after = decodeDeviceState(await guest.saveDeviceState()).sections;
    const differing = sections.filter(({ name, bytes }, index) => name !== 'msrs' && !same(bytes, after[index].bytes));
    expect(differing.map(({ name }) => name)).toEqual(['clock']);
    for (const [index, { name, bytes }] of sections.entries()) {
      if (name === 'clock') expect(wordAt(after[index].bytes, 0) - wordAt(bytes, 0)).toBeLessThan(20e9);
      if (name !== 'msrs') continue;
      expect(msrOf(after[index].bytes, SYSENTER_CS)).toBe(0x10);
      // A software-backed KVM gives its guests the TSC of the host, whatever they had.
      const since = [sections, state.sections].map(
        (from) => (msrOf(after[index].bytes, TSC) - msrOf(from[index].bytes, TSC)) / state.shape.tscKhz,
      );
      expect(since.some((ms) => ms > 0 && ms < 20_000)).toBe(true);
    }
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
