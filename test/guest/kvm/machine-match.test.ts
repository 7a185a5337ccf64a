/** Device states of other machines, as a real machine here finds them: refused with all that differs, and unharmed. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type DeviceState, decodeDeviceState, encodeDeviceState } from '#lib/guest/kvm/device-state.js';
import type { KvmGuest } from '#lib/guest/kvm/kvm-guest.js';
import { machineDifferences, sameTsc } from '#lib/guest/kvm/machine-match.js';
import { createGuest, emptyGuest, hasKvm, images } from '../../../testing/kvm-guests.ts';

const noBytes = new Uint8Array(0);
const shape = { blocks: [4096], vcpus: 1, irqchip: false, tscKhz: 1000, xsaveBytes: 4096, cpuid: noBytes };
const msr = (index: number): Uint8Array => new Uint8Array(Uint32Array.of(index, 0, 0, 0).buffer);
const state = (change: Partial<DeviceState>): DeviceState => ({
  shape,
  program: { kind: 'image', filledEnd: 0, workEnd: 0, done: [0] },
  sections: [
    { vcpu: 0, name: 'msrs', bytes: msr(0x10) },
    { name: 'clock', bytes: new Uint8Array(48) },
  ],
  ...change,
});
const own = { shape, sections: state({}).sections, msrs: [0x10, 0x11] };

test('nothing differs between a machine and itself', () => {
  expect(machineDifferences(state({}), own)).toEqual([]);
});

test.each<[string, Partial<DeviceState>, string]>([
  ['vCPUs', { shape: { ...shape, vcpus: 2 } }, '2 vCPUs, here 1'],
  ['interrupt chips', { shape: { ...shape, irqchip: true } }, 'interrupt chips, here none'],
  ['RAM', { shape: { ...shape, blocks: [4096, 4096] } }, 'RAM of 4096 + 4096 bytes, here 4096'],
  ['XSAVE', { shape: { ...shape, xsaveBytes: 576 } }, 'an XSAVE area of 576 bytes, here 4096'],
  ['CPUID', { shape: { ...shape, cpuid: new Uint8Array(40) } }, 'CPUID leaf 0x0.0 is not known here'],
  ['an MSR', { sections: [{ vcpu: 0, name: 'msrs', bytes: msr(0xabc) }] }, 'MSR 0xabc is not known here'],
  [
    'a part of an MSR',
    { sections: [{ vcpu: 0, name: 'msrs', bytes: new Uint8Array(8) }] },
    'msrs of vCPU 0 has 8 bytes',
  ],
  ['a size', { sections: [{ name: 'clock', bytes: noBytes }] }, 'clock has 0 bytes, here 48'],
  ['a structure', { sections: [{ name: 'pit2', bytes: noBytes }] }, 'pit2 is not known here'],
  ['one that is missing', { sections: [] }, 'clock is missing'],
  ['one that is there twice', { sections: [...own.sections, own.sections[1]] }, 'clock is there twice'],
])('another machine differs in %s', (_what, change, difference) => {
  expect(machineDifferences(state(change), own).join('; ')).toContain(difference);
});

test('frequencies of the TSC are the same within 250 millionths', () => {
  expect(sameTsc(2_596_128, 2_596_128)).toBe(true);
  expect(sameTsc(2_596_700, 2_596_128)).toBe(true);
  expect(sameTsc(2_600_000, 2_596_128)).toBe(false);
});

describe.skipIf(!hasKvm)('a real machine', () => {
  const settings = { blocks: 1, vcpus: 1, kinds: ['anonymous'], program: images.spin } as const;
  const change = async (guest: KvmGuest, to: (state: DeviceState) => DeviceState): Promise<Uint8Array> =>
    encodeDeviceState(to(decodeDeviceState(await guest.saveDeviceState())));

  test.each<[string, (state: DeviceState) => DeviceState, string, string]>([
    [
      'another CPUID',
      (s) => ({ ...s, shape: { ...s.shape, cpuid: s.shape.cpuid.slice(40) } }),
      'GUEST_MISMATCH',
      'CPUID',
    ],
    [
      'more vCPUs',
      (s) => ({ ...s, shape: { ...s.shape, vcpus: 2 }, program: { ...s.program, done: [0, 0] } }),
      'GUEST_MISMATCH',
      '2 vCPUs',
    ],
    [
      'another TSC',
      (s) => ({ ...s, shape: { ...s.shape, tscKhz: 1_000_000 } }),
      'GUEST_FAILED',
      'TSC ran at 1000000 kHz',
    ],
    ['other memory', (s) => ({ ...s, program: { ...s.program, workEnd: 4096 } }), 'GUEST_MISMATCH', 'other memory'],
    [
      'registers that cannot be',
      (s) => ({
        ...s,
        sections: s.sections.map((x) => (x.name === 'sregs' ? { ...x, bytes: x.bytes.map(() => 0xff) } : x)),
      }),
      'GUEST_FAILED',
      'sregs of vCPU 0 is refused by this KVM (EINVAL)',
    ],
  ])('refuses %s, and runs on', async (_what, to, code, message) => {
    const guest = await createGuest(settings);
    const before = await guest.saveDeviceState();
    const wrong = await change(guest, to);
    await expect(guest.loadDeviceState(wrong)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
    expect(withoutClock(await guest.saveDeviceState())).toEqual(withoutClock(before));
    await guest.start();
    await guest.stop();
    await guest.loadDeviceState(await guest.saveDeviceState());
  });

  test('never dies of whatever its structures hold (property)', async () => {
    const good = await (await createGuest(settings)).saveDeviceState();
    const guest = emptyGuest(settings);
    const position = fc.integer({ min: good.length - 9000, max: good.length - 1 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(position, fc.integer({ min: 0, max: 255 })), { minLength: 1 }),
        async (bytes) => {
          const changed = good.slice();
          for (const [at, value] of bytes) changed[at] = value;
          const outcome = await guest.loadDeviceState(changed).catch((error) => error.code);
          expect([undefined, 'GUEST_FAILED', 'GUEST_MISMATCH']).toContain(outcome);
        },
      ),
      { numRuns: 60 },
    );
    await guest.loadDeviceState(good);
    await guest.start();
    await guest.stop();
  });
});

/** Its time goes on while it stands still, and with it the TSC. */
function withoutClock(bytes: Uint8Array): unknown {
  const { sections, ...rest } = decodeDeviceState(bytes);
  return { ...rest, sections: sections.filter(({ name }) => name !== 'clock' && name !== 'msrs') };
}
